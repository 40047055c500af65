// What a KubeletConfiguration may say that this kubelet does not do. Pure.
import type { KubeletConfiguration } from './types.ts'

/** What would change how pods run, and is not there: said at once, not found out later. */
const refusals: readonly [field: keyof KubeletConfiguration, wanted: string, why: string][] = [
  ['cgroupDriver', 'cgroupfs', 'cgroups are made by files, not by systemd'],
]

/** Fields that change nothing here, though they may be set. */
const idle: readonly (keyof KubeletConfiguration)[] = [
  'readOnlyPort',
  'tlsCipherSuites',
  'enableContentionProfiling',
  'enableSystemLogQuery',
  'syncFrequency',
  'hairpinMode',
  'configMapAndSecretChangeDetectionStrategy',
  'enableControllerAttachDetach',
  'volumePluginDir',
  'imagePullCredentialsVerificationPolicy',
  'preloadedImagesVerificationAllowlist',
  'failCgroupV1',
  'protectKernelDefaults',
  'makeIPTablesUtilChains',
  'oomScoreAdj',
  'maxOpenFiles',
  'cgroupsPerQOS',
  'kubeletCgroups',
  'systemCgroups',
  'systemReservedCgroup',
  'kubeReservedCgroup',
  'qosReserved',
  'cpuManagerReconcilePeriod',
  'memoryThrottlingFactor',
  'kernelMemcgNotification',
  'containerRuntimeEndpoint',
  'imageServiceEndpoint',
  'runtimeRequestTimeout',
  'contentType',
  'kubeAPIQPS',
  'kubeAPIBurst',
  'logging',
  'enableSystemdWatchdog',
  'tracing',
]

/** @returns why the configuration cannot be served, each with its field and value */
export function refusedSettings(configuration: KubeletConfiguration): string[] {
  return refusals.flatMap(([field, wanted, why]) => {
    const value = configuration[field]
    return value === wanted ? [] : [`${field} ${JSON.stringify(value)}: is not supported by this kubelet: ${why}`]
  })
}

/** Feature gates that change something here. */
const knownGates = ['CPUManagerPolicyAlphaOptions']

/** @returns the fields that are set to something else than their default, and change nothing */
export function idleSettings(configuration: KubeletConfiguration, defaults: KubeletConfiguration): string[] {
  const fields = idle.filter((field) => JSON.stringify(configuration[field]) !== JSON.stringify(defaults[field]))
  const gates = Object.keys(configuration.featureGates).filter((gate) => !knownGates.includes(gate))
  return [...fields, ...gates.map((gate) => `featureGates.${gate}`)]
}
