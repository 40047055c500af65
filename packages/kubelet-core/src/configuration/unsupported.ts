// What a KubeletConfiguration may say that this kubelet does not do. Pure.
import { chosen } from './features.ts'
import type { KubeletConfiguration } from './types.ts'

/** Fields that change nothing here, though they may be set. */
const idle: readonly (keyof KubeletConfiguration)[] = [
  'enableContentionProfiling',
  'hairpinMode',
  'configMapAndSecretChangeDetectionStrategy',
  'enableControllerAttachDetach',
  'volumePluginDir',
  'oomScoreAdj',
  'maxOpenFiles',
  'cgroupsPerQOS',
  'kubeletCgroups',
  'systemCgroups',
  'qosReserved',
  'cpuManagerReconcilePeriod',
  'memoryThrottlingFactor',
  'kernelMemcgNotification',
  'containerRuntimeEndpoint',
  'imageServiceEndpoint',
  'contentType',
  'kubeAPIQPS',
  'kubeAPIBurst',
  'logging',
  'enableSystemdWatchdog',
  'tracing',
]

/**
 * @param hasLevels the log can be made to tell more or less
 * @returns the fields that are set to something else than their default, and change nothing
 */
export function idleSettings(
  configuration: KubeletConfiguration,
  defaults: KubeletConfiguration,
  hasLevels: boolean,
): string[] {
  const { verbosity } = (hasLevels ? configuration : defaults).logging
  const heeded = { ...defaults, logging: { ...defaults.logging, verbosity } }
  const fields = idle.filter((field) => JSON.stringify(configuration[field]) !== JSON.stringify(heeded[field]))
  const gates = Object.keys(configuration.featureGates).filter((gate) => !Object.hasOwn(chosen, gate))
  return [...fields, ...gates.map((gate) => `featureGates.${gate}`)]
}
