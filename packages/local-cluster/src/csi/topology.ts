// Where a volume may be, and which nodes can use it. Pure.
import type { TopologyRequirement } from '@nodelet/csi-node/controller'
import type { Node, TopologySelectorTerm, VolumeNodeAffinity } from 'kubernetes-types/core/v1.d.ts'
import type { CSINode } from 'kubernetes-types/storage/v1.d.ts'
import { sameJson, sortKeys } from '../object.ts'

type Segments = Readonly<Record<string, string>>

const keysOf = (csiNode: CSINode | undefined, driver: string): string[] =>
  csiNode?.spec.drivers.find(({ name }) => name === driver)?.topologyKeys ?? []

/** Undefined unless the node has all keys. */
function segmentsOf({ metadata }: Node, keys: readonly string[]): Segments | undefined {
  const labels = metadata?.labels ?? {}
  if (keys.some((key) => labels[key] === undefined)) return undefined
  return Object.fromEntries(keys.map((key) => [key, labels[key] ?? '']))
}

const isWithin = (small: Segments, large: Segments): boolean =>
  Object.entries(small).every(([key, value]) => large[key] === value)

/** All combinations of a term's values. */
const combinations = ({ matchLabelExpressions = [] }: TopologySelectorTerm): Segments[] =>
  matchLabelExpressions.reduce<Segments[]>(
    (all, { key, values }) => values.flatMap((value) => all.map((one) => ({ ...one, [key]: value }))),
    [{}],
  )

export interface TopologyFacts {
  driver: string
  nodes: readonly Node[]
  csiNodes: readonly CSINode[]
  allowed: readonly TopologySelectorTerm[]
  /** The node that a pod is to be on. */
  selectedNode?: string | undefined
}

/**
 * What a driver is told; undefined: nothing.
 * @throws Error when it is not known yet
 */
export function topologyRequirement(facts: TopologyFacts): TopologyRequirement | undefined {
  const { driver, nodes, csiNodes, allowed, selectedNode } = facts
  const csiNodeOf = (name: string): CSINode | undefined => csiNodes.find(({ metadata }) => metadata?.name === name)
  const keys =
    selectedNode === undefined
      ? (csiNodes.map((one) => keysOf(one, driver)).find((some) => some.length > 0) ?? [])
      : keysOf(csiNodeOf(selectedNode), driver)
  if (keys.length === 0 && (selectedNode !== undefined || allowed.length === 0)) {
    throw new Error(
      selectedNode === undefined ? 'no available topology found' : `no topology key found for node ${selectedNode}`,
    )
  }
  const chosen = nodes.find(({ metadata }) => metadata?.name === selectedNode)
  const selected = chosen && segmentsOf(chosen, keys)
  if (selectedNode !== undefined && !selected) {
    throw new Error(
      `topology labels from selected node ${selectedNode} do not match topology keys from CSINode [${keys.join(' ')}]`,
    )
  }
  const present = nodes.map((node) => segmentsOf(node, keys)).filter((one) => one !== undefined)
  const all = allowed.length > 0 ? allowed.flatMap(combinations) : present
  const sorted = all
    .map((one) => ({ one, text: JSON.stringify(sortKeys(one)) }))
    .toSorted((a, b) => (a.text < b.text ? -1 : 1))
  const requisite = sorted.filter(({ text }, index) => text !== sorted[index - 1]?.text).map(({ one }) => one)
  if (requisite.length === 0) return undefined
  if (!selected) return { requisite, preferred: requisite }
  const first = requisite.findIndex((one) => isWithin(one, selected))
  if (first < 0) throw new Error(`topology of selected node ${selectedNode} is not among those that the class allows`)
  return { requisite, preferred: [...requisite.slice(first), ...requisite.slice(0, first)] }
}

/** Of a volume that can be used in these places; undefined: everywhere. */
export function nodeAffinityOf(topology: readonly Segments[]): VolumeNodeAffinity | undefined {
  const terms = topology
    .filter((segments) => !sameJson(segments, {}))
    .map((segments) => ({
      matchExpressions: Object.entries(segments).map(([key, value]) => ({ key, operator: 'In', values: [value] })),
    }))
  return terms.length === 0 ? undefined : { required: { nodeSelectorTerms: terms } }
}
