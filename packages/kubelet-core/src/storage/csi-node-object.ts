// The CSINode object and what a Node says of drivers. Pure.
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { CSINode, CSINodeDriver } from 'kubernetes-types/storage/v1.d.ts'
import type { NodeInfo } from '@nodelet/csi-node'
import { migratedPlugins } from './in-tree.ts'

/** JSON of driver → what this node is to it. */
export const nodeIdAnnotation = 'csi.volume.kubernetes.io/nodeid'
const migratedAnnotation = 'storage.alpha.kubernetes.io/migrated-plugins'

/** As this kubelet makes it, owned by its Node. */
export const newCsiNode = (nodeName: string, nodeUid: string): CSINode => ({
  apiVersion: 'storage.k8s.io/v1',
  kind: 'CSINode',
  metadata: {
    name: nodeName,
    annotations: { [migratedAnnotation]: migratedPlugins.join(',') },
    ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeUid }],
  },
  spec: { drivers: [] },
})

/** Of this Node, or of nobody: one of another Node of the name is made anew. */
export const isOwn = ({ metadata }: CSINode, nodeUid: string): boolean =>
  (metadata?.ownerReferences ?? []).every(({ kind, uid }) => kind !== 'Node' || uid === nodeUid)

/** Its owner and annotation as they should be; undefined: they are. */
export function adopted(there: CSINode, nodeName: string, nodeUid: string): CSINode | undefined {
  const wanted = newCsiNode(nodeName, nodeUid).metadata
  const { ownerReferences = [], annotations = {} } = there.metadata ?? {}
  const isOwned = ownerReferences.some(({ uid }) => uid === nodeUid)
  const before = annotations[migratedAnnotation] ?? ''
  // Plugins that others wrote there stay.
  const plugins = [...new Set([...before.split(','), ...migratedPlugins])].filter(Boolean).toSorted().join(',')
  if (isOwned && before === plugins) return undefined
  const metadata = {
    ...there.metadata,
    annotations: { ...annotations, [migratedAnnotation]: plugins },
    ownerReferences: isOwned ? ownerReferences : [...ownerReferences, ...(wanted?.ownerReferences ?? [])],
  }
  return { ...there, metadata }
}

export function driverEntry(name: string, { nodeId, maxVolumesPerNode, topology }: NodeInfo): CSINodeDriver {
  return {
    name,
    nodeID: nodeId,
    topologyKeys: Object.keys(topology ?? {}).toSorted(),
    ...(maxVolumesPerNode > 0 && { allocatable: { count: maxVolumesPerNode } }),
  }
}

/** With the driver, or without it; undefined: it is so already. */
export function withDriver(there: CSINode, name: string, entry: CSINodeDriver | undefined): CSINode | undefined {
  const { drivers } = there.spec
  const before = drivers.find((one) => one.name === name)
  if (entry ? before && isSame(before, entry) : !before) return undefined
  const others = drivers.filter((one) => one.name !== name)
  return { ...there, spec: { ...there.spec, drivers: entry ? [...others, entry] : others } }
}

const isSame = (a: CSINodeDriver, b: CSINodeDriver): boolean =>
  a.nodeID === b.nodeID &&
  a.allocatable?.count === b.allocatable?.count &&
  (a.topologyKeys ?? []).join('\0') === (b.topologyKeys ?? []).join('\0')

/** Annotations and labels of a Node that change, as a patch takes them; undefined: none does. */
export interface NodeChanges {
  annotations?: Record<string, string | null>
  labels?: Record<string, string>
}

/** @throws Error: a label has another value */
export function nodeChanges(
  { metadata }: Node,
  name: string,
  info: Pick<NodeInfo, 'nodeId' | 'topology'> | undefined,
): NodeChanges | undefined {
  const { annotations = {}, labels = {} } = metadata ?? {}
  const before = nodeIds(annotations[nodeIdAnnotation])
  const { [name]: known, ...others } = before
  const after = info ? { ...before, [name]: info.nodeId } : others
  const text = Object.keys(after).length > 0 ? JSON.stringify(after) : null
  const changes: NodeChanges = {}
  if (known !== info?.nodeId) changes.annotations = { [nodeIdAnnotation]: text }
  const fresh: Record<string, string> = {}
  for (const [key, value] of Object.entries(info?.topology ?? {})) {
    const is = labels[key]
    if (is !== undefined && is !== value) {
      throw new Error(
        `detected topology value collision: driver reported ${JSON.stringify(key)}:${JSON.stringify(value)} but existing label is ${JSON.stringify(key)}:${JSON.stringify(is)}`,
      )
    }
    if (is === undefined) fresh[key] = value
  }
  if (Object.keys(fresh).length > 0) changes.labels = fresh
  return changes.annotations || changes.labels ? changes : undefined
}

/** One that is no JSON object is written anew. */
function nodeIds(text: string | undefined): Record<string, string> {
  try {
    const ids: unknown = JSON.parse(text ?? '{}')
    return typeof ids === 'object' && ids !== null && !Array.isArray(ids) ? (ids as Record<string, string>) : {}
  } catch {
    return {}
  }
}
