// What a KubeProxyConfiguration may say that this proxy does not do. Pure.
import { lockedFeatures, usualFeatures } from './features.ts'
import type { KubeProxyConfiguration } from './types.ts'

/** Fields that change nothing here, though they may be set. */
const idle: readonly string[] = [
  // The client speaks JSON whichever is said: API servers take both, and mean the same by them.
  'clientConnection.acceptContentTypes',
  'clientConnection.contentType',
  // The format is that of the log that the proxy was given, and so is when it is written; its lines have no file names.
  'logging.format',
  'logging.flushFrequency',
  'logging.vmodule',
  'logging.options',
  // No metric of this proxy is hidden.
  'showHiddenMetricsForVersion',
  // How often the Go proxy looks at each object anew, without effect: what is followed here needs no second look.
  'configSyncPeriod',
  // For the proxy that ran in user space; the Go proxy does not read it either.
  'portRange',
  // Of Windows.
  'winkernel',
  'windowsRunAsService',
]

/** What surrounds the proxy; without it these fields change nothing either. */
export interface IdleWhen {
  /** Whether its process does nothing else: the process is then limited as `oomScoreAdj` says. */
  ownProcess?: boolean | undefined
  /** Whether it connects by itself, with `clientConnection.kubeconfig`. */
  ownClient?: boolean | undefined
  /** Whether the log can be told how much to tell. */
  ownLogLevel?: boolean | undefined
}

const idleFor = ({ ownProcess, ownClient, ownLogLevel }: IdleWhen): string[] => [
  ...(ownProcess ? [] : ['oomScoreAdj']),
  ...(ownClient ? [] : ['clientConnection.kubeconfig']),
  ...(ownLogLevel ? [] : ['logging.verbosity']),
]

/** @returns the fields that are set to something else than their default, and change nothing */
export function idleProxySettings(
  configuration: KubeProxyConfiguration,
  defaults: KubeProxyConfiguration,
  madeWith: IdleWhen,
): string[] {
  const fields = [...idle, ...idleFor(madeWith)].filter(
    (field) => JSON.stringify(at(configuration, field)) !== JSON.stringify(at(defaults, field)),
  )
  const gates = Object.keys(configuration.featureGates).filter(
    (gate) => !lockedFeatures.has(gate) && !Object.hasOwn(usualFeatures, gate),
  )
  return [...fields, ...gates.map((gate) => `featureGates.${gate}`)]
}

const at = (configuration: KubeProxyConfiguration, field: string): unknown =>
  field
    .split('.')
    .reduce<unknown>((object, key) => (object as Record<string, unknown> | undefined)?.[key], configuration)
