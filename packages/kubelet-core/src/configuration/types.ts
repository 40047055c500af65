// What a KubeletConfiguration says, as types.

/**
 * Complete: what was not said has its default. Durations and quantities are texts, as they were written.
 * @see kubelet.config.k8s.io/v1beta1 KubeletConfiguration
 */
export interface KubeletConfiguration {
  apiVersion: 'kubelet.config.k8s.io/v1beta1'
  kind: 'KubeletConfiguration'
  enableServer: boolean
  address: string
  port: number
  readOnlyPort: number
  tlsCertFile: string
  tlsPrivateKeyFile: string
  tlsCipherSuites?: string[] | undefined
  tlsMinVersion: '' | 'VersionTLS10' | 'VersionTLS11' | 'VersionTLS12' | 'VersionTLS13'
  rotateCertificates: boolean
  serverTLSBootstrap: boolean
  authentication: {
    x509: {
      clientCAFile?: string | undefined
    }
    webhook: {
      enabled: boolean
      cacheTTL: string
    }
    anonymous: {
      enabled: boolean
    }
  }
  authorization: {
    mode: 'AlwaysAllow' | 'Webhook'
    webhook: {
      cacheAuthorizedTTL: string
      cacheUnauthorizedTTL: string
    }
  }
  enableDebuggingHandlers: boolean
  enableContentionProfiling: boolean
  enableProfilingHandler: boolean
  enableDebugFlagsHandler: boolean
  enableSystemLogHandler: boolean
  enableSystemLogQuery: boolean
  healthzPort: number
  healthzBindAddress: string
  streamingConnectionIdleTimeout: string
  showHiddenMetricsForVersion?: string | undefined
  staticPodPath: string
  staticPodURL: string
  staticPodURLHeader?: Record<string, string[]> | undefined
  podLogsDir: string
  syncFrequency: string
  fileCheckFrequency: string
  httpCheckFrequency: string
  maxPods: number
  podsPerCore: number
  podPidsLimit: number
  podCIDR: string
  resolvConf: string
  clusterDomain: string
  clusterDNS: string[]
  hairpinMode: 'promiscuous-bridge' | 'hairpin-veth' | 'none'
  cpuCFSQuota: boolean
  cpuCFSQuotaPeriod: string
  seccompDefault: boolean
  singleProcessOOMKill?: boolean | undefined
  allowedUnsafeSysctls: string[]
  crashLoopBackOff: {
    maxContainerRestartPeriod?: string | undefined
  }
  userNamespaces: {
    idsPerPod: number
  }
  configMapAndSecretChangeDetectionStrategy: 'Get' | 'Cache' | 'Watch'
  enableControllerAttachDetach: boolean
  volumePluginDir: string
  volumeStatsAggPeriod: string
  localStorageCapacityIsolation: boolean
  registryPullQPS: number
  registryBurst: number
  serializeImagePulls?: boolean | undefined
  maxParallelImagePulls?: number | undefined
  imageMinimumGCAge: string
  imageMaximumGCAge: string
  imageGCHighThresholdPercent: number
  imageGCLowThresholdPercent: number
  imagePullCredentialsVerificationPolicy:
    'NeverVerify' | 'NeverVerifyPreloadedImages' | 'NeverVerifyAllowlistedImages' | 'AlwaysVerify'
  preloadedImagesVerificationAllowlist?: string[] | undefined
  containerLogMaxSize: string
  containerLogMaxFiles: number
  containerLogMaxWorkers: number
  containerLogMonitorInterval: string
  registerNode: boolean
  registerWithTaints: {
    key: string
    value?: string | undefined
    effect: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute'
    timeAdded?: string | undefined
  }[]
  providerID: string
  nodeStatusUpdateFrequency: string
  nodeStatusReportFrequency?: string | undefined
  nodeLeaseDurationSeconds: number
  nodeStatusMaxImages: number
  shutdownGracePeriod: string
  shutdownGracePeriodCriticalPods: string
  shutdownGracePeriodByPodPriority: {
    priority: number
    shutdownGracePeriodSeconds: number
  }[]
  failSwapOn: boolean
  memorySwap: {
    swapBehavior: '' | 'NoSwap' | 'LimitedSwap'
  }
  failCgroupV1: boolean
  protectKernelDefaults: boolean
  makeIPTablesUtilChains: boolean
  oomScoreAdj: number
  maxOpenFiles: number
  cgroupRoot: string
  cgroupsPerQOS: boolean
  cgroupDriver: 'cgroupfs' | 'systemd'
  kubeletCgroups: string
  systemCgroups: string
  systemReserved: Record<string, string>
  kubeReserved: Record<string, string>
  systemReservedCgroup: string
  kubeReservedCgroup: string
  reservedSystemCPUs: string
  enforceNodeAllocatable: (
    | 'none'
    | 'pods'
    | 'system-reserved'
    | 'kube-reserved'
    | 'system-reserved-compressible'
    | 'kube-reserved-compressible'
  )[]
  qosReserved?: Record<string, string> | undefined
  cpuManagerPolicy: 'none' | 'static'
  cpuManagerPolicyOptions: Record<string, string>
  cpuManagerReconcilePeriod: string
  memoryManagerPolicy: 'None' | 'Static'
  topologyManagerPolicy: 'none' | 'best-effort' | 'restricted' | 'single-numa-node'
  topologyManagerScope: 'container' | 'pod'
  topologyManagerPolicyOptions: Record<string, string>
  reservedMemory: {
    numaNode: number
    limits: Record<string, string>
  }[]
  memoryThrottlingFactor: number
  memoryReservationPolicy: '' | 'None' | 'TieredReservation'
  evictionHard?:
    | Partial<
        Record<
          | 'memory.available'
          | 'nodefs.available'
          | 'nodefs.inodesFree'
          | 'imagefs.available'
          | 'imagefs.inodesFree'
          | 'pid.available',
          string
        >
      >
    | undefined
  evictionSoft: Partial<
    Record<
      | 'memory.available'
      | 'nodefs.available'
      | 'nodefs.inodesFree'
      | 'imagefs.available'
      | 'imagefs.inodesFree'
      | 'pid.available',
      string
    >
  >
  evictionSoftGracePeriod: Record<string, string>
  evictionMinimumReclaim: Record<string, string>
  evictionPressureTransitionPeriod: string
  evictionMaxPodGracePeriod: number
  mergeDefaultEvictionSettings: boolean
  kernelMemcgNotification: boolean
  containerRuntimeEndpoint: string
  imageServiceEndpoint: string
  runtimeRequestTimeout: string
  contentType: '' | 'application/json' | 'application/vnd.kubernetes.protobuf'
  kubeAPIQPS: number
  kubeAPIBurst: number
  eventRecordQPS: number
  eventBurst: number
  featureGates: Record<string, boolean>
  logging: {
    format: 'text' | 'json'
    verbosity: number
    [key: string]: unknown
  }
  enableSystemdWatchdog?: boolean | undefined
  tracing?:
    | {
        [key: string]: unknown
      }
    | undefined
}

type Sayable<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [Key in keyof T]?: Sayable<T[Key]> | undefined }
    : T

/** What a file or a program may say: all may be left out. */
export type KubeletConfigurationInput = Sayable<KubeletConfiguration>
