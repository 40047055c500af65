// The kubelet's server, over the parts of a kubelet.
import type { RuntimeService } from '@nodelet/cri-api'
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { checkpointContainer } from '../checkpoint.ts'
import type { Clock } from '../clock.ts'
import type { KubeletServerSettings } from '../config.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { Logger } from '../log.ts'
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
  rootDir: string
  configuration: KubeletConfiguration
  client: KubeClient | undefined
  runtimeService: RuntimeService
  manager: PodManager
  reader: RuntimeReader
  pages: MetricsPages
  stats: StatsProvider
  health(): readonly HealthCheck[]
  clock: Clock
  log: Logger
}

export async function openServer(parts: ServerParts, settings: KubeletServerSettings): Promise<KubeletServer> {
  const { rootDir, configuration, runtimeService, manager, reader, pages, stats, clock, log } = parts
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
  return startKubeletServer({
    ...settings,
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
    log,
  })
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
