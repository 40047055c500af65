// The kubelet's server, over the parts of a kubelet.
import { join } from 'node:path'
import type { RuntimeService } from '@nodelet/cri-api'
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Rotation, startRotation } from '../certificate/rotation.ts'
import { selfSigned } from '../certificate/self-signed.ts'
import { readServing, type ServingSources, watchServing } from '../certificate/serving.ts'
import { nodeSubject, requestCertificate, servingSigning } from '../certificate/signing.ts'
import { type CertificateStore, certificateStore } from '../certificate/store.ts'
import { isFor, type KeyPair } from '../certificate/x509.ts'
import { checkpointContainer } from '../checkpoint.ts'
import type { Clock } from '../clock.ts'
import type { KubeletServerSettings } from '../config.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import { type Logger, type LogLevel, logLevelOf } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { MetricsPages } from '../metrics/pages.ts'
import { createNodeView } from '../node-view.ts'
import type { PodManager } from '../pod/manager.ts'
import type { RuntimeReader } from '../pod/runtime-read.ts'
import { runningPods } from '../running-pods.ts'
import { flagsOf } from '../server/flagz.ts'
import type { HealthCheck } from '../server/health.ts'
import type { RequestLabels } from '../server/measure.ts'
import { startReadOnlyServer } from '../server/read-only.ts'
import { createReviews, type Reviews } from '../server/reviews.ts'
import { type KubeletServer, startKubeletServer } from '../server/server.ts'
import type { StatsProvider } from '../stats/provider.ts'

export interface ServerParts {
  nodeName: string
  nodeIPs: readonly string[]
  rootDir: string
  configuration: KubeletConfiguration
  client: KubeClient | undefined
  setLogLevel: ((level: LogLevel) => void) | undefined
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

/** A server whose certificate may be renewed. */
export interface RenewedServer extends KubeletServer {
  /** When the certificate of the cluster that it shows ends, in milliseconds since the epoch; undefined when it has none. */
  expiresMs(): number | undefined
}

export async function openServer(parts: ServerParts, settings: KubeletServerSettings): Promise<RenewedServer> {
  const { nodeName, nodeIPs, rootDir, configuration, runtimeService, manager, reader, pages, stats } = parts
  const { metrics, setLogLevel, clock, log } = parts
  const { authentication, authorization } = configuration
  const reviews = reviewsOf(parts)
  const view = {
    ...createNodeView(manager, reader),
    metrics: pages.read,
    summary: stats.summary,
    runningPods: async (signal: AbortSignal) => runningPods(runtimeService, signal),
    configz: () => configuration,
    flags: () =>
      flagsOf({
        'hostname-override': nodeName,
        'node-ip': nodeIPs.join(','),
        'root-dir': rootDir,
        ...configuration,
      }),
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
    ...(setLogLevel && { setVerbosity: (verbosity: number) => setLogLevel(logLevelOf(verbosity)) }),
  }
  await using opening = new AsyncDisposableStack()
  const measure = (labels: RequestLabels): (() => void) => {
    metrics.httpRequests.inc(labels)
    metrics.httpInflight.inc(labels)
    const took = metrics.httpSeconds.startTimer(labels)
    return () => {
      took()
      metrics.httpInflight.dec(labels)
    }
  }
  const plain = { node: view, runtimeService, containerLogsRoot: configuration.podLogsDir, measure, log }
  if (configuration.readOnlyPort > 0) {
    const { address } = settings
    opening.use(await startReadOnlyServer({ ...plain, address, port: configuration.readOnlyPort }))
  }
  const store = certificateStore(join(rootDir, 'pki'), 'kubelet-server')
  const isBootstrapped = isServingBootstrapped(parts, settings)
  const sources = servingOf(parts, settings, isBootstrapped ? store.read : async () => undefined)
  const server = await startKubeletServer({
    address: settings.address,
    port: settings.port,
    ...(await readServing(sources)),
    ...plain,
    // The API server lets them do all too; so they are not asked about.
    allowedNames: ['system:masters'],
    ...(reviews && { reviews }),
    anonymous: authentication.anonymous.enabled,
    alwaysAllow: authorization.mode === 'AlwaysAllow',
    debugging: configuration.enableDebuggingHandlers,
    systemLogs: configuration.enableSystemLogHandler ? '/var/log' : '',
    systemLogQuery: configuration.enableSystemLogQuery,
    profiling: configuration.enableProfilingHandler,
    debugFlags: configuration.enableDebugFlagsHandler,
    streamIdleMs: parseDuration(configuration.streamingConnectionIdleTimeout),
    tlsMinVersion: configuration.tlsMinVersion,
    tlsCipherSuites: configuration.tlsCipherSuites,
  })
  const watched = watchServing(sources, server.renew, log)
  const rotation = isBootstrapped ? startServingRotation(parts, store, sources, server) : undefined
  const opened = opening.move()
  return {
    ...server,
    expiresMs: () => rotation?.expiresMs(),
    close: async () => {
      watched[Symbol.dispose]()
      await rotation?.close()
      await server.close()
      await opened.disposeAsync()
    },
  }
}

/** KubeletConfiguration `serverTLSBootstrap`, unless there are certificates without it. */
const isServingBootstrapped = (
  { configuration, client }: ServerParts,
  { certificate, key }: KubeletServerSettings,
): boolean =>
  configuration.serverTLSBootstrap &&
  client !== undefined &&
  !(configuration.tlsCertFile && configuration.tlsPrivateKeyFile) &&
  !(certificate && key)

/** Somebody approves what a node shows to others: that may take its time, and the server shows its own until then. */
function startServingRotation(
  { client, nodeName, nodeIPs, metrics, clock, log }: ServerParts,
  store: CertificateStore,
  sources: ServingSources,
  server: KubeletServer,
): Rotation | undefined {
  if (!client) return undefined
  const hosts = [...new Set([nodeName, ...nodeIPs])]
  return startRotation({
    what: 'server',
    store,
    request: async (key, signal) =>
      requestCertificate({ client, key, subject: nodeSubject(nodeName, hosts), ...servingSigning, signal }),
    fits: ({ certificate }) => isFor(certificate, hosts),
    changed: () => {
      readServing(sources).then(server.renew, (error: unknown) =>
        log.warn({ err: error }, 'the renewed certificate of the server cannot be shown'),
      )
    },
    failed: () => metrics.servingRenewErrors.inc(),
    clock,
    log,
  })
}

/** What is given wins over the files of the configuration, these over one of the cluster, and that over one that signs itself. */
function servingOf(
  { nodeName, nodeIPs, rootDir, configuration }: ServerParts,
  { certificate, key, clientCa }: KubeletServerSettings,
  ofCluster: () => Promise<KeyPair | undefined>,
): ServingSources {
  const { tlsCertFile, tlsPrivateKeyFile, authentication } = configuration
  const given = certificate !== undefined && key !== undefined ? { certificate, key } : undefined
  return {
    tlsCertFile: given ? '' : tlsCertFile,
    tlsPrivateKeyFile: given ? '' : tlsPrivateKeyFile,
    clientCAFile: clientCa === undefined ? (authentication.x509.clientCAFile ?? '') : '',
    own: async () => given ?? (await ofCluster()) ?? selfSigned(join(rootDir, 'pki'), [nodeName, ...nodeIPs]),
    clientCa,
  }
}

function reviewsOf({ client, nodeName, configuration, clock }: ServerParts): Reviews | undefined {
  const { authentication, authorization } = configuration
  if (!client || !(authentication.webhook.enabled || authorization.mode === 'Webhook')) return undefined
  return createReviews({
    tokens: authentication.webhook.enabled,
    client,
    nodeName,
    tokenTtlMs: parseDuration(authentication.webhook.cacheTTL),
    allowedTtlMs: parseDuration(authorization.webhook.cacheAuthorizedTTL),
    deniedTtlMs: parseDuration(authorization.webhook.cacheUnauthorizedTTL),
    clock,
  })
}
