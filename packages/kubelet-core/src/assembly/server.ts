// The kubelet's server, over the parts of a kubelet.
import { join } from 'node:path'
import type { RuntimeService } from '@nodelet/cri-api'
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { selfSigned } from '../certificate/self-signed.ts'
import { readServing, type ServingSources, watchServing } from '../certificate/serving.ts'
import { checkpointContainer } from '../checkpoint.ts'
import type { Clock } from '../clock.ts'
import type { KubeletServerSettings } from '../config.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { MetricsPages } from '../metrics/pages.ts'
import { createNodeView } from '../node-view.ts'
import type { PodManager } from '../pod/manager.ts'
import type { RuntimeReader } from '../pod/runtime-read.ts'
import { runningPods } from '../running-pods.ts'
import type { HealthCheck } from '../server/health.ts'
import { createReviews, type Reviews } from '../server/reviews.ts'
import { type KubeletServer, startKubeletServer } from '../server/server.ts'
import type { StatsProvider } from '../stats/provider.ts'

export interface ServerParts {
  nodeName: string
  nodeIPs: readonly string[]
  rootDir: string
  configuration: KubeletConfiguration
  client: KubeClient | undefined
  runtimeService: RuntimeService
  manager: PodManager
  reader: RuntimeReader
  pages: MetricsPages
  metrics: KubeletMetrics
  stats: StatsProvider
  health(): readonly HealthCheck[]
  clock: Clock
  log: Logger
}

export async function openServer(parts: ServerParts, settings: KubeletServerSettings): Promise<KubeletServer> {
  const { rootDir, configuration, runtimeService, manager, reader, pages, stats, metrics, clock, log } = parts
  const { authentication, authorization } = configuration
  const reviews = reviewsOf(parts)
  const view = {
    ...createNodeView(manager, reader),
    metrics: pages.read,
    summary: stats.summary,
    runningPods: async (signal: AbortSignal) => runningPods(runtimeService, signal),
    configz: () => configuration,
    checkpoint: async (pod: Pod, container: string, id: string, seconds: number, signal: AbortSignal) =>
      checkpointContainer(
        { runtime: runtimeService, rootDir, nowMs: clock.now() },
        pod,
        container,
        id,
        seconds,
        signal,
      ),
    health: parts.health,
  }
  const sources = servingOf(parts, settings)
  const server = await startKubeletServer({
    address: settings.address,
    port: settings.port,
    ...(await readServing(sources)),
    node: view,
    runtimeService,
    containerLogsRoot: configuration.podLogsDir,
    // The API server lets them do all too; so they are not asked about.
    allowedNames: ['system:masters'],
    ...(reviews && { reviews }),
    anonymous: authentication.anonymous.enabled,
    alwaysAllow: authorization.mode === 'AlwaysAllow',
    debugging: configuration.enableDebuggingHandlers,
    systemLogs: configuration.enableSystemLogHandler ? '/var/log' : '',
    streamIdleMs: parseDuration(configuration.streamingConnectionIdleTimeout),
    tlsMinVersion: configuration.tlsMinVersion,
    measure(labels) {
      metrics.httpRequests.inc(labels)
      metrics.httpInflight.inc(labels)
      const took = metrics.httpSeconds.startTimer(labels)
      return () => {
        took()
        metrics.httpInflight.dec(labels)
      }
    },
    log,
  })
  const watched = watchServing(sources, server.renew, log)
  return {
    ...server,
    close: async () => {
      watched[Symbol.dispose]()
      await server.close()
    },
  }
}

/** What is given wins over the files of the configuration, and these over a certificate that signs itself. */
function servingOf(
  { nodeName, nodeIPs, rootDir, configuration }: ServerParts,
  { certificate, key, clientCa }: KubeletServerSettings,
): ServingSources {
  const { tlsCertFile, tlsPrivateKeyFile, authentication } = configuration
  const given = certificate !== undefined && key !== undefined ? { certificate, key } : undefined
  return {
    tlsCertFile: given ? '' : tlsCertFile,
    tlsPrivateKeyFile: given ? '' : tlsPrivateKeyFile,
    clientCAFile: clientCa === undefined ? (authentication.x509.clientCAFile ?? '') : '',
    own: async () => given ?? selfSigned(join(rootDir, 'pki'), [nodeName, ...nodeIPs]),
    clientCa,
  }
}

function reviewsOf({ client, nodeName, configuration, clock }: ServerParts): Reviews | undefined {
  const { authentication, authorization } = configuration
  if (!client || !authentication.webhook.enabled) return undefined
  return createReviews({
    client,
    nodeName,
    tokenTtlMs: parseDuration(authentication.webhook.cacheTTL),
    allowedTtlMs: parseDuration(authorization.webhook.cacheAuthorizedTTL),
    deniedTtlMs: parseDuration(authorization.webhook.cacheUnauthorizedTTL),
    clock,
  })
}
