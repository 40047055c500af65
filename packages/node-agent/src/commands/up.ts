// `nodelet up`: the node, until a signal.
import { notifyService } from '@nodelet/linux'
import type { NodeConfig } from '../config.ts'
import { openLog } from '../log.ts'
import { openSession } from './session.ts'
import { aborted, untilSignal } from './signal.ts'

export interface UpOptions {
  /** Remove every pod at the end instead of leaving containers running. */
  down?: boolean
}

export async function up(config: NodeConfig, { down = false }: UpOptions): Promise<void> {
  const log = openLog(config.logLevel)
  const signal = untilSignal()
  const since = performance.now()
  await using session = await openSession(config, log, signal)
  const { node, status, ended } = session
  // A kubelet says so itself, before it waits for an API server.
  if (!node.kubelet) notifyService('READY=1')
  log.info({ ...status, parts: config.parts, ms: Math.round(performance.now() - since) }, 'node started')
  await aborted(ended)
  notifyService('STOPPING=1')
  log.info({ down, reason: (ended.reason as Error).message }, 'node stopping')
  // Its pods run on: a service manager starts it anew.
  if (!signal.aborted) throw ended.reason
  if (down) await node.kubelet?.removeAllPods()
}
