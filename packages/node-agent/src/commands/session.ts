// What the long-running commands share: one agent per folder, and a clean end.
import type { Logger } from 'pino'
import { startNode } from '../compose.ts'
import type { NodeHandle } from '../compose.ts'
import { foldersOf } from '../config.ts'
import type { NodeConfig } from '../config.ts'
import { agentStatus } from '../control/client.ts'
import type { AgentStatus } from '../control/protocol.ts'
import { serveControl } from '../control/server.ts'
import { CommandError } from '../errors.ts'
import { checkMachine } from '../machine.ts'
import { version } from '../version.ts'

/** @throws CommandError when an agent already runs with these folders */
export async function refuseSecond(config: NodeConfig): Promise<void> {
  const running = await agentStatus(foldersOf(config).controlSocket)
  if (!running) return
  throw new CommandError(
    `nodelet already runs here: process ${running.pid} since ${running.startedAt}${
      running.kubeconfig ? `, kubectl --kubeconfig ${running.kubeconfig}` : ''
    }`,
    `use it, or stop it (kill ${running.pid}), or give this one its own --root, --run and ports`,
  )
}

/** Checks the machine, starts the node and its control socket. Disposing stops both and leaves containers running. */
export async function openSession(config: NodeConfig, log: Logger, signal: AbortSignal): Promise<Session> {
  checkMachine(config)
  await refuseSecond(config)
  await using opening = new AsyncDisposableStack()
  const failing = new AbortController()
  const ended = AbortSignal.any([signal, failing.signal])
  const failed = (error: Error): void => failing.abort(error)
  const node = opening.use(await startNode(config, log, { signal: ended, ownProcess: true, failed }))
  const status: AgentStatus = {
    pid: process.pid,
    version,
    startedAt: new Date().toISOString(),
    nodeName: config.nodeName,
    root: config.root,
    ...(node.cluster && { kubeconfig: node.cluster.kubeconfigs.admin, api: node.cluster.url }),
  }
  opening.use(
    await serveControl(foldersOf(config).controlSocket, { status, images: node.images, proxier: node.proxier }),
  )
  const opened = opening.move()
  return { node, status, ended, [Symbol.asyncDispose]: async () => opened.disposeAsync() }
}

export interface Session extends AsyncDisposable {
  readonly node: NodeHandle
  readonly status: AgentStatus
  /** Aborted by the caller's signal, or because the node cannot go on. */
  readonly ended: AbortSignal
}
