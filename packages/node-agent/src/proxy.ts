// The service proxy as a KubeProxyConfiguration has it.
import { writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { KubeClient } from '@nodelet/kube-client'
import {
  idleProxySettings,
  nodeIPsOf,
  parseKubeProxyConfiguration,
  proxierOptionsOf,
  readOwnNode,
  startProxier,
} from '@nodelet/proxy-rules'
import type { IdleWhen, KubeProxyConfiguration, Proxier } from '@nodelet/proxy-rules'
import type { Logger } from 'pino'

export interface NodeProxyOptions {
  configuration: KubeProxyConfiguration
  client: KubeClient
  nodeName: string
  /** Default: those of the Node, which are waited for. */
  nodeIPs?: readonly string[] | undefined
  madeWith: Pick<IdleWhen, 'ownProcess' | 'ownClient'>
  /** Told when it has to be started anew; default: the log says so. */
  failed?: ((error: Error) => void) | undefined
  signal?: AbortSignal | undefined
  /** Of the proxy alone: its level is what the configuration says. */
  log: Logger
}

/** In kube-proxy's words. */
const nodePortsEverywhere =
  'nodePortAddresses is unset; NodePort connections will be accepted on all local IPs. Consider using `--nodeport-addresses primary`'

/** @throws RangeError for a mode that there are no rules for; Error when it cannot start */
export async function startNodeProxy(options: NodeProxyOptions): Promise<Proxier> {
  const { configuration, nodeName, madeWith, failed, signal, log } = options
  const idle = idleProxySettings(configuration, parseKubeProxyConfiguration({}, 'defaults'), {
    ...madeWith,
    ownLogLevel: true,
  })
  if (idle.length > 0) log.warn({ fields: idle }, 'these fields of the configuration change nothing here')
  if (madeWith.ownProcess && configuration.mode !== 'nftables' && configuration.nodePortAddresses.length === 0)
    log.warn({}, nodePortsEverywhere)
  const { clientConnection, detectLocalMode, logging, oomScoreAdj } = configuration
  const setVerbosity = (verbosity: number): void => {
    // As the Go proxy counts: from 4 on each step.
    log.level = verbosity < 4 ? 'info' : 'debug'
  }
  if (logging.verbosity > 0) setVerbosity(logging.verbosity)
  // Before anything is waited for, so that it is told early.
  proxierOptionsOf(configuration)
  if (madeWith.ownProcess) await setOomScore(oomScoreAdj, log)
  const { qps, burst } = clientConnection
  const client = qps > 0 && burst > 0 ? options.client.limited({ qps, burst }) : options.client
  const { nodeIPs, podCIDRs } = await readOwnNode({
    client,
    nodeName,
    needsIPs: options.nodeIPs === undefined,
    needsPodCIDRs: detectLocalMode === 'NodeCIDR',
    signal,
    log,
  })
  return startProxier({
    ...proxierOptionsOf(configuration, podCIDRs),
    client,
    nodeName,
    nodeIPs: nodeIPsOf(configuration, options.nodeIPs ?? nodeIPs),
    profiles: (request, response) => {
      answerProfile(request, response).catch((error: unknown) => response.destroy(error as Error))
    },
    setVerbosity,
    ...(failed && { failed }),
    log,
  })
}

/** The kubelet, which makes the profiles, is loaded when one is asked for: the proxy alone needs nothing of it. */
async function answerProfile(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { answerPprof } = await import('@nodelet/kubelet-core')
  answerPprof(request, response)
}

/** How soon the kernel ends this process when memory is short. */
async function setOomScore(oomScoreAdj: number, log: Logger): Promise<void> {
  try {
    await writeFile('/proc/self/oom_score_adj', String(oomScoreAdj))
  } catch (error) {
    log.warn({ err: error, oomScoreAdj }, 'oomScoreAdj may not be so low here')
  }
}
