// Which nodes reach a cloud provider's volume: labels of zones and regions → those of the volume's CSI driver. Pure.
import type { NodeSelectorTerm, PersistentVolume, VolumeNodeAffinity } from 'kubernetes-types/core/v1.d.ts'

/** Labels that a driver gives nodes. */
export interface TopologyKeys {
  zone: string
  /** Default: Kubernetes' own. */
  region?: string
}

const current = { zone: 'topology.kubernetes.io/zone', region: 'topology.kubernetes.io/region' }
const beta = { zone: 'failure-domain.beta.kubernetes.io/zone', region: 'failure-domain.beta.kubernetes.io/region' }
/** Between zones in a label of a volume that is in several. */
const delimiter = '__'

/** Those that a volume's labels name. */
export function zonesOf({ metadata }: PersistentVolume): string[] {
  const { [beta.zone]: old, [current.zone]: now } = metadata?.labels ?? {}
  return (old || now || '').split(delimiter).filter(Boolean)
}

/** The affinity in the driver's labels; of a volume that has none, what its own labels say. Undefined: any node. */
export function translateTopology(volume: PersistentVolume, keys: TopologyKeys): VolumeNodeAffinity | undefined {
  const { nodeAffinity } = volume.spec ?? {}
  const terms = nodeAffinity?.required?.nodeSelectorTerms ?? []
  const labels = volume.metadata?.labels ?? {}
  const names = (key: string): boolean => terms.some((term) => valuesOf(term, key).length > 0)
  const own = [current.zone, current.region]
  const from = own.some(names) || own.some((key) => key in labels) ? current : beta
  const added = new Map<string, string[]>()
  const add = (label: string, key: string): void => {
    const values = [...new Set(labels[label]?.split(delimiter))].filter(Boolean).toSorted()
    if (values.length > 0 && !names(label)) added.set(key, values)
  }
  add(from.zone, keys.zone)
  if (keys.region !== undefined) add(from.region, keys.region)
  const renamed = new Map([
    [from.zone, keys.zone],
    [from.region, keys.region ?? current.region],
  ])
  if (terms.length === 0 && added.size === 0) return nodeAffinity
  const nodeSelectorTerms = (terms.length > 0 ? terms : [{}]).map((term) => translateTerm(term, renamed, added))
  return { required: { nodeSelectorTerms } }
}

const valuesOf = ({ matchExpressions = [] }: NodeSelectorTerm, key: string): string[] =>
  matchExpressions.filter((one) => one.key === key).flatMap(({ values = [] }) => values)

function translateTerm(
  { matchExpressions = [], ...rest }: NodeSelectorTerm,
  renamed: ReadonlyMap<string, string>,
  added: ReadonlyMap<string, string[]>,
): NodeSelectorTerm {
  return {
    ...rest,
    matchExpressions: [
      ...matchExpressions.map((one) => ({ ...one, key: renamed.get(one.key) ?? one.key })),
      ...[...added].map(([key, values]) => ({ key, operator: 'In', values })),
    ],
  }
}
