// Feature gates of Kubernetes 1.36, and which of them this kubelet does. Pure.
import type { KubeletConfiguration } from './types.ts'

const stages = ['', 'BETA', 'ALPHA', 'DEPRECATED'] as const

/** As Kubernetes writes stages; '' is generally available. */
export type FeatureStage = (typeof stages)[number]

export interface Feature {
  name: string
  stage: FeatureStage
  isOn: boolean
}

/** What is done here, whatever `featureGates` says. */
const done: Readonly<Partial<Record<FeatureStage, readonly string[]>>> = {
  '': [
    'CPUManagerPolicyOptions',
    'DisableCPUQuotaWithExclusiveCPUs',
    'DynamicResourceAllocation',
    'ExecProbeTimeout',
    'ImageMaximumGCAge',
    'ImageVolume',
    'InPlacePodVerticalScaling',
    'KubeletCgroupDriverFromCRI',
    'KubeletFineGrainedAuthz',
    'KubeletPSI',
    'KubeletPodResourcesDynamicResources',
    'KubeletPodResourcesGet',
    'MutableCSINodeAllocatableCount',
    'NodeLogQuery',
    'NodeSwap',
    'PodLifecycleSleepAction',
    'PodLifecycleSleepActionAllowZero',
    'PodObservedGenerationTracking',
    'ProcMountType',
    'RecoverVolumeExpansionFailure',
    'RecursiveReadOnlyMounts',
    'SELinuxMountReadWriteOncePod',
    'SidecarContainers',
    'SupplementalGroupsPolicy',
    'SystemdWatchdog',
    'TopologyManagerPolicyOptions',
    'UserNamespacesSupport',
  ],
  BETA: [
    'ComponentFlagz',
    'ComponentStatusz',
    'ContainerCheckpoint',
    'ContainerRestartRules',
    'EnvFiles',
    'GracefulNodeShutdown',
    'GracefulNodeShutdownBasedOnPodPriority',
    'HostnameOverride',
    'KubeletCrashLoopBackOffMax',
    'KubeletEnsureSecretPulledImages',
    'KubeletServiceAccountTokenForCredentialProviders',
    'PLEGOnDemandRelist',
    'PodLevelResources',
    'PodReadyToStartContainersCondition',
    'PreventStaticPodAPIReferences',
    'ResourceHealthStatus',
    'RotateKubeletServerCertificate',
  ],
  // Off in the Go kubelet unless somebody asks.
  ALPHA: ['EventedPLEG', 'PodAndContainerStatsFromCRI', 'PodLogsQuerySplitStreams'],
}

const missing: Readonly<Record<FeatureStage, readonly string[]>> = {
  '': ['KubeletTracing'],
  BETA: ['ExtendWebSocketsToKubelet', 'InPlacePodVerticalScalingInitContainers', 'KubeletSeparateDiskGC'],
  ALPHA: [
    'CRIListStreaming',
    'ContainerStopSignals',
    'ImageVolumeWithDigest',
    'PodsAPI',
    'ReduceDefaultCrashLoopBackOffDecay',
    'RuntimeClassInImageCriApi',
    'UserNamespacesHostNetworkSupport',
  ],
  DEPRECATED: ['ChangeContainerStatusOnKubeletRestart'],
}

/** Gates that change something here: their stages, and whether they are on when nothing is said. */
export const chosen: Readonly<Record<string, { stage: FeatureStage; isOn: boolean }>> = {
  CSIVolumeHealth: { stage: 'ALPHA', isOn: false },
  ClusterTrustBundleProjection: { stage: 'BETA', isOn: false },
  CPUManagerPolicyAlphaOptions: { stage: 'ALPHA', isOn: false },
  InPlacePodLevelResourcesVerticalScaling: { stage: 'BETA', isOn: true },
  MemoryQoS: { stage: 'ALPHA', isOn: false },
  NodeDeclaredFeatures: { stage: 'BETA', isOn: true },
  PodCertificateRequest: { stage: 'BETA', isOn: false },
  RestartAllContainersOnContainerExits: { stage: 'BETA', isOn: true },
  SELinuxMount: { stage: 'BETA', isOn: false },
}

export function featuresOf({ featureGates }: Pick<KubeletConfiguration, 'featureGates'>): Feature[] {
  const all = (isOn: boolean, names: typeof done): Feature[] =>
    stages.flatMap((stage) => (names[stage] ?? []).map((name) => ({ name, stage, isOn })))
  const asked = Object.entries(chosen).map(([name, { stage, isOn }]) => ({
    name,
    stage,
    isOn: featureGates[name] ?? isOn,
  }))
  return [...all(true, done), ...all(false, missing), ...asked]
}
