// KubeletConfiguration `kubelet.config.k8s.io/v1beta1`: every field, what it may be and its default.
import { z } from 'zod'
import {
  absolutePath,
  durationOr,
  endpoint,
  plainDuration,
  port,
  quantities,
  quantity,
  someDuration,
  texts,
  thresholds,
  whole,
} from './fields.ts'
import type { KubeletConfiguration } from './types.ts'

const server = {
  enableServer: z.boolean().default(true),
  address: z.string().default('0.0.0.0'),
  port: port.default(10_250),
  readOnlyPort: port.default(0),
  tlsCertFile: z.string().default(''),
  tlsPrivateKeyFile: z.string().default(''),
  tlsCipherSuites: texts.optional(),
  tlsMinVersion: z.enum(['', 'VersionTLS10', 'VersionTLS11', 'VersionTLS12', 'VersionTLS13']).default('VersionTLS12'),
  rotateCertificates: z.boolean().default(false),
  serverTLSBootstrap: z.boolean().default(false),
  authentication: z
    .strictObject({
      x509: z.strictObject({ clientCAFile: z.string().optional() }).prefault({}),
      webhook: z.strictObject({ enabled: z.boolean().default(true), cacheTTL: durationOr('2m') }).prefault({}),
      anonymous: z.strictObject({ enabled: z.boolean().default(false) }).prefault({}),
    })
    .prefault({}),
  authorization: z
    .strictObject({
      mode: z.enum(['AlwaysAllow', 'Webhook']).default('Webhook'),
      webhook: z
        .strictObject({ cacheAuthorizedTTL: durationOr('5m'), cacheUnauthorizedTTL: durationOr('30s') })
        .prefault({}),
    })
    .prefault({}),
  enableDebuggingHandlers: z.boolean().default(true),
  enableContentionProfiling: z.boolean().default(false),
  enableProfilingHandler: z.boolean().default(true),
  enableDebugFlagsHandler: z.boolean().default(true),
  enableSystemLogHandler: z.boolean().default(true),
  enableSystemLogQuery: z.boolean().default(false),
  healthzPort: port.default(10_248),
  healthzBindAddress: z.string().default('127.0.0.1'),
  streamingConnectionIdleTimeout: plainDuration('4h'),
  showHiddenMetricsForVersion: z.string().optional(),
}

const pods = {
  staticPodPath: z.string().default(''),
  staticPodURL: z.string().default(''),
  staticPodURLHeader: z.record(z.string(), texts).optional(),
  podLogsDir: absolutePath.default('/var/log/pods'),
  syncFrequency: durationOr('1m'),
  fileCheckFrequency: durationOr('20s'),
  httpCheckFrequency: durationOr('20s'),
  maxPods: whole(0).default(110),
  podsPerCore: whole(0).default(0),
  podPidsLimit: z.number().int().min(-1).default(-1),
  podCIDR: z.string().default(''),
  resolvConf: z.string().default('/etc/resolv.conf'),
  clusterDomain: z.string().default(''),
  clusterDNS: texts.default([]),
  hairpinMode: z.enum(['promiscuous-bridge', 'hairpin-veth', 'none']).default('promiscuous-bridge'),
  cpuCFSQuota: z.boolean().default(true),
  cpuCFSQuotaPeriod: plainDuration('100ms'),
  seccompDefault: z.boolean().default(false),
  singleProcessOOMKill: z.boolean().optional(),
  allowedUnsafeSysctls: texts.default([]),
  crashLoopBackOff: z.strictObject({ maxContainerRestartPeriod: someDuration }).prefault({}),
  userNamespaces: z.strictObject({ idsPerPod: whole(65_536).default(65_536) }).prefault({}),
  configMapAndSecretChangeDetectionStrategy: z.enum(['Get', 'Cache', 'Watch']).default('Watch'),
  enableControllerAttachDetach: z.boolean().default(true),
  volumePluginDir: z.string().default('/usr/libexec/kubernetes/kubelet-plugins/volume/exec/'),
  volumeStatsAggPeriod: durationOr('1m'),
  localStorageCapacityIsolation: z.boolean().default(true),
}

const images = {
  registryPullQPS: whole(0).default(5),
  registryBurst: whole(0).default(10),
  serializeImagePulls: z.boolean().optional(),
  maxParallelImagePulls: whole(1).optional(),
  imageMinimumGCAge: durationOr('2m'),
  imageMaximumGCAge: plainDuration('0s'),
  imageGCHighThresholdPercent: whole(0, 100).default(85),
  imageGCLowThresholdPercent: whole(0, 100).default(80),
  imagePullCredentialsVerificationPolicy: z
    .enum(['NeverVerify', 'NeverVerifyPreloadedImages', 'NeverVerifyAllowlistedImages', 'AlwaysVerify'])
    .default('NeverVerifyPreloadedImages'),
  preloadedImagesVerificationAllowlist: texts.optional(),
  containerLogMaxSize: quantity.default('10Mi'),
  containerLogMaxFiles: whole(2).default(5),
  containerLogMaxWorkers: whole(1).default(1),
  containerLogMonitorInterval: durationOr('10s'),
}

const node = {
  registerNode: z.boolean().default(true),
  registerWithTaints: z
    .array(
      z.strictObject({
        key: z.string().min(1),
        value: z.string().optional(),
        effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']),
        timeAdded: z.string().optional(),
      }),
    )
    .default([]),
  providerID: z.string().default(''),
  nodeStatusUpdateFrequency: durationOr('10s'),
  nodeStatusReportFrequency: someDuration,
  nodeLeaseDurationSeconds: whole(1).default(40),
  nodeStatusMaxImages: z.number().int().min(-1).default(50),
  shutdownGracePeriod: plainDuration('0s'),
  shutdownGracePeriodCriticalPods: plainDuration('0s'),
  shutdownGracePeriodByPodPriority: z
    .array(z.strictObject({ priority: z.number().int(), shutdownGracePeriodSeconds: whole(0) }))
    .default([]),
  failSwapOn: z.boolean().default(true),
  memorySwap: z.strictObject({ swapBehavior: z.enum(['', 'NoSwap', 'LimitedSwap']).default('') }).prefault({}),
  // The Go kubelet's is true: it refuses v1 unless told otherwise. This one runs on v1 unless told otherwise.
  failCgroupV1: z.boolean().default(false),
  protectKernelDefaults: z.boolean().default(false),
  makeIPTablesUtilChains: z.boolean().default(true),
  oomScoreAdj: z.number().int().min(-1000).max(1000).default(-999),
  maxOpenFiles: whole(0).default(1_000_000),
}

const resources = {
  cgroupRoot: z.string().default(''),
  cgroupsPerQOS: z.boolean().default(true),
  cgroupDriver: z.enum(['cgroupfs', 'systemd']).default('cgroupfs'),
  kubeletCgroups: z.string().default(''),
  systemCgroups: z.string().default(''),
  systemReserved: quantities.default({}),
  kubeReserved: quantities.default({}),
  systemReservedCgroup: z.string().default(''),
  kubeReservedCgroup: z.string().default(''),
  reservedSystemCPUs: z.string().default(''),
  enforceNodeAllocatable: z
    .array(
      z.enum([
        'none',
        'pods',
        'system-reserved',
        'kube-reserved',
        'system-reserved-compressible',
        'kube-reserved-compressible',
      ]),
    )
    .default(['pods']),
  qosReserved: z.record(z.string(), z.string()).optional(),
  cpuManagerPolicy: z.enum(['none', 'static']).default('none'),
  cpuManagerPolicyOptions: z.record(z.string(), z.string()).default({}),
  cpuManagerReconcilePeriod: durationOr('10s'),
  memoryManagerPolicy: z.enum(['None', 'Static']).default('None'),
  topologyManagerPolicy: z.enum(['none', 'best-effort', 'restricted', 'single-numa-node']).default('none'),
  topologyManagerScope: z.enum(['container', 'pod']).default('container'),
  topologyManagerPolicyOptions: z.record(z.string(), z.string()).default({}),
  reservedMemory: z.array(z.strictObject({ numaNode: whole(0), limits: quantities })).default([]),
  memoryThrottlingFactor: z.number().gt(0).max(1).default(0.9),
  memoryReservationPolicy: z.enum(['', 'None', 'TieredReservation']).default('None'),
  evictionHard: thresholds.optional(),
  evictionSoft: thresholds.default({}),
  evictionSoftGracePeriod: z.record(z.string(), plainDuration('0s')).default({}),
  evictionMinimumReclaim: z.record(z.string(), z.string()).default({}),
  evictionPressureTransitionPeriod: durationOr('5m'),
  evictionMaxPodGracePeriod: z.number().int().min(0).default(0),
  mergeDefaultEvictionSettings: z.boolean().default(false),
  kernelMemcgNotification: z.boolean().default(false),
}

const clients = {
  containerRuntimeEndpoint: endpoint.default('unix:///run/containerd/containerd.sock'),
  imageServiceEndpoint: z.union([z.literal(''), endpoint]).default(''),
  runtimeRequestTimeout: durationOr('2m'),
  // The client speaks JSON whichever is said: API servers take both, and mean the same by them.
  contentType: z
    .enum(['', 'application/json', 'application/vnd.kubernetes.protobuf'])
    .default('application/vnd.kubernetes.protobuf'),
  kubeAPIQPS: whole(0).default(50),
  kubeAPIBurst: whole(0).default(100),
  eventRecordQPS: whole(0).default(50),
  eventBurst: whole(0).default(100),
  featureGates: z.record(z.string(), z.boolean()).default({}),
  logging: z
    .looseObject({ format: z.enum(['text', 'json']).default('text'), verbosity: whole(0).default(0) })
    .prefault({}),
  enableSystemdWatchdog: z.boolean().optional(),
  tracing: z.looseObject({}).optional(),
}

/** Unknown fields are errors, as in the Go kubelet. */
export const kubeletConfigurationSchema: z.ZodType<KubeletConfiguration> = z.strictObject({
  apiVersion: z.literal('kubelet.config.k8s.io/v1beta1').default('kubelet.config.k8s.io/v1beta1'),
  kind: z.literal('KubeletConfiguration').default('KubeletConfiguration'),
  ...server,
  ...pods,
  ...images,
  ...node,
  ...resources,
  ...clients,
})
