export { parseMilliQuantity, parseQuantity } from './quantity.ts'
export { oomScoreAdj, podCgroupPath, podSlicePath, qosClass } from './resource/qos.ts'
export type { QosClass } from './resource/qos.ts'
export { containerCgroupValues, cpuPeriodUs, cpuQuotaUs, cpuShares } from './resource/container-resources.ts'
export type { ContainerCgroupValues } from './resource/container-resources.ts'
export { podPhase } from './pod/phase.ts'
export type { PhaseFacts, PodPhase } from './pod/phase.ts'
export { crashLoopMessage, decideRestart, mayRestart } from './pod/restart.ts'
export type {
  BackOff,
  BackOffLimits,
  RestartableContainer,
  RestartDecision,
  RestartPolicy,
  RestartRule,
} from './pod/restart.ts'
export { expand, literalEnvironment, serviceEnvironment } from './pod/environment.ts'
export { parseResolvConf, podDns } from './pod/dns.ts'
export type { DnsConfig, DnsFacts, DnsResult } from './pod/dns.ts'
export { hostNetworkHostsFile, hostsFile, podHostname } from './pod/hostname.ts'
export type { PodHostname } from './pod/hostname.ts'
export { createVolumeManager } from './volume/manager.ts'
export type { VolumeManagerOptions } from './volume/manager.ts'
export { bindSubPath, resolveSubPath } from './volume/sub-path.ts'
export type { SubPath } from './volume/sub-path.ts'
export { metadataField, resourceField } from './volume/downward.ts'
export type { Allocatable } from './volume/downward.ts'
export { VolumeError } from './volume/types.ts'
export type { VolumeManager } from './volume/types.ts'
export { createProber } from './probe/prober.ts'
export type { ProberOptions } from './probe/prober.ts'
export type { ExecInContainer, ProbeFailure, ProbeKind, Prober, ProbeTarget, ProbeVerdict } from './probe/types.ts'
export { runHook } from './probe/hook.ts'
export type { HookOptions } from './probe/hook.ts'
export { startKubeletServer } from './server/server.ts'
export type { KubeletServer, KubeletServerOptions } from './server/server.ts'
export type { KubeletView, Refusal } from './server/view.ts'
