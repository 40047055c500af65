// `cpuManagerPolicyOptions` of the static policy. Pure.
import type { KubeletConfiguration } from '../configuration/types.ts'

export interface CpuOptions {
  fullCores: boolean
  strictReservation: boolean
  acrossNodes: boolean
  acrossCores: boolean
  byCache: boolean
  bySocket: boolean
}

const alphaGate = 'CPUManagerPolicyAlphaOptions'
const names: Readonly<Record<string, readonly [keyof CpuOptions, alpha?: 'alpha']>> = {
  'full-pcpus-only': ['fullCores'],
  'strict-cpu-reservation': ['strictReservation'],
  'distribute-cpus-across-numa': ['acrossNodes'],
  'prefer-align-cpus-by-uncorecache': ['byCache'],
  'align-by-socket': ['bySocket', 'alpha'],
  'distribute-cpus-across-cores': ['acrossCores', 'alpha'],
}

type Settings = Pick<KubeletConfiguration, 'cpuManagerPolicyOptions' | 'featureGates' | 'topologyManagerPolicy'>

/** @throws RangeError naming a wrong option, or two that exclude each other */
export function cpuOptions({
  cpuManagerPolicyOptions: given,
  featureGates,
  topologyManagerPolicy,
}: Settings): CpuOptions {
  const options: CpuOptions = {
    fullCores: false,
    strictReservation: false,
    acrossNodes: false,
    acrossCores: false,
    byCache: false,
    bySocket: false,
  }
  for (const [name, value] of Object.entries(given)) {
    const [option, alpha] = names[name] ?? []
    if (!option) {
      throw new RangeError(`cpuManagerPolicyOptions.${name}: is not known; there are ${Object.keys(names).join(', ')}`)
    }
    if (value !== 'true' && value !== 'false') {
      throw new RangeError(`cpuManagerPolicyOptions.${name} ${JSON.stringify(value)}: must be true or false`)
    }
    if (alpha && !featureGates[alphaGate]) {
      throw new RangeError(`cpuManagerPolicyOptions.${name}: needs the feature gate ${alphaGate}`)
    }
    options[option] = value === 'true'
  }
  const both = (a: string, b: string): never => {
    throw new RangeError(`cpuManagerPolicyOptions: ${a} and ${b} cannot be used at the same time`)
  }
  if (options.acrossCores && options.fullCores) both('distribute-cpus-across-cores', 'full-pcpus-only')
  if (options.acrossCores && options.byCache) both('distribute-cpus-across-cores', 'prefer-align-cpus-by-uncorecache')
  if (options.bySocket && topologyManagerPolicy === 'single-numa-node') {
    both('align-by-socket', 'topologyManagerPolicy "single-numa-node"')
  }
  return options
}
