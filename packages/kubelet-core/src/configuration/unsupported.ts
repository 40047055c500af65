// What a KubeletConfiguration may say that this kubelet does not do. Pure.
import { chosen } from './features.ts'
import type { KubeletOptions } from '../config.ts'
import type { KubeletConfiguration } from './types.ts'

/** Fields that change nothing here, though they may be set. */
const idle: readonly (keyof KubeletConfiguration)[] = [
  // Was for the network that the kubelet made for Docker: the Go kubelet has nothing left that reads it either. What
  // leads a pod's packets back to it is set in the CNI plugin.
  'hairpinMode',
  // For programs of FlexVolume, a kind of volume that this kubelet does not have: CSI drivers have taken its place.
  'volumePluginDir',
  // Needs the gate QOSReserved, which is alpha: what Guaranteed pods ask for is not kept from the others here.
  'qosReserved',
  // Spans of CRI calls and of requests to the server would go to an OpenTelemetry collector: metrics and the log tell
  // their times here.
  'tracing',
  // How late the Go kubelet may tell the runtime which CPUs a container has: this one tells at once, and again after a
  // failure. Neither looks whether somebody else changed them.
  'cpuManagerReconcilePeriod',
  // Needs the gate MemoryQoS, which is alpha: memory that pods ask for is not protected by memory.min and memory.low here.
  'memoryReservationPolicy',
  // Of Go's own locks.
  'enableContentionProfiling',
  // Its verbosity counts where the log can be told of it; its format is the log's own.
  'logging',
]

/** What a kubelet was made with; without it, or with it, these fields change nothing either. */
export type IdleWhen = Pick<KubeletOptions, 'ownProcess' | 'runtimeService' | 'imageService' | 'setLogLevel'>

const idleFor = ({ ownProcess, runtimeService, imageService }: IdleWhen): (keyof KubeletConfiguration)[] => [
  ...(ownProcess ? [] : (['oomScoreAdj', 'maxOpenFiles', 'enableSystemdWatchdog', 'kubeletCgroups'] as const)),
  ...(runtimeService ? (['containerRuntimeEndpoint'] as const) : []),
  ...(imageService ? (['imageServiceEndpoint'] as const) : []),
]

/** @returns the fields that are set to something else than their default, and change nothing */
export function idleSettings(
  configuration: KubeletConfiguration,
  defaults: KubeletConfiguration,
  madeWith: IdleWhen,
): string[] {
  const { verbosity } = (madeWith.setLogLevel ? configuration : defaults).logging
  const heeded = { ...defaults, logging: { ...defaults.logging, verbosity } }
  const fields = [...idle, ...idleFor(madeWith)].filter(
    (field) => JSON.stringify(configuration[field]) !== JSON.stringify(heeded[field]),
  )
  const gates = Object.keys(configuration.featureGates).filter((gate) => !Object.hasOwn(chosen, gate))
  return [...fields, ...gates.map((gate) => `featureGates.${gate}`)]
}
