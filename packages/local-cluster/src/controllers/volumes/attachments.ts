// Which volumes are to be attached to a node, and which no longer. Pure.
import { createHash } from 'node:crypto'
import type {
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  PersistentVolumeSpec,
  Pod,
} from 'kubernetes-types/core/v1.d.ts'
import type { CSIDriver, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { isOver } from '../replicas.ts'
import { claimsOf } from './pod-claims.ts'

export interface AttachmentFacts {
  /** Of all nodes. */
  pods: readonly Pod[]
  claimOf(namespace: string, name: string): PersistentVolumeClaim | undefined
  volumeOf(name: string): PersistentVolume | undefined
  drivers: readonly CSIDriver[]
  /** Of all nodes. */
  attachments: readonly VolumeAttachment[]
  nodes: readonly Node[]
}

/** A volume that pods of a node need there. */
export interface Wanted {
  volume: PersistentVolume
  pods: Pod[]
}

/** The name of the VolumeAttachment that a kubelet looks for. */
export const attachmentName = (handle: string, driver: string, node: string): string =>
  `csi-${createHash('sha256').update(`${handle}${driver}${node}`).digest('hex')}`

/** As the node's status has it. */
export const uniqueName = ({ spec }: PersistentVolume): string =>
  `kubernetes.io/csi/${spec?.csi?.driver}^${spec?.csi?.volumeHandle}`

const nameFor = ({ spec }: PersistentVolume, node: string): string =>
  attachmentName(spec?.csi?.volumeHandle ?? '', spec?.csi?.driver ?? '', node)

/** By the name of the attachment. Drivers that no CSIDriver describes are attached. */
export function wantedOn(node: string, facts: AttachmentFacts): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>()
  for (const pod of facts.pods) {
    if (pod.spec?.nodeName !== node || isOver(pod)) continue
    for (const { name } of claimsOf(pod)) {
      const claim = facts.claimOf(pod.metadata?.namespace ?? '', name)
      const volume = claim?.status?.phase === 'Bound' ? facts.volumeOf(claim.spec?.volumeName ?? '') : undefined
      const driver = volume?.spec?.csi?.driver
      if (!volume || driver === undefined || volume.spec?.claimRef?.uid !== claim?.metadata?.uid) continue
      const described = facts.drivers.find(({ metadata }) => metadata?.name === driver)
      if (described?.spec.attachRequired === false) continue
      const key = nameFor(volume, node)
      wanted.set(key, { volume, pods: [...(wanted.get(key)?.pods ?? []), pod] })
    }
  }
  return wanted
}

/** As a node's status has a disk of iSCSI or Fibre Channel; undefined: it is none. */
export function diskName({ iscsi, fc }: Pick<PersistentVolumeSpec, 'iscsi' | 'fc'>): string | undefined {
  if (iscsi) return `kubernetes.io/iscsi/${iscsi.targetPortal}:${iscsi.iqn}:${iscsi.lun}`
  if (!fc) return undefined
  const { targetWWNs = [], lun, wwids = [] } = fc
  return `kubernetes.io/fc/${targetWWNs.length > 0 && lun !== undefined ? `[${targetWWNs.join(' ')}]:${lun}` : `[${wwids.join(' ')}]`}`
}

/** Disks that pods of a node need there, by name: the node itself attaches them. */
export function disksOn(node: string, facts: AttachmentFacts): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>()
  for (const pod of facts.pods) {
    if (pod.spec?.nodeName !== node || isOver(pod)) continue
    const claims = new Map(claimsOf(pod).map(({ volume, name }) => [volume, name]))
    for (const volume of pod.spec.volumes ?? []) {
      const claim = facts.claimOf(pod.metadata?.namespace ?? '', claims.get(volume) ?? '')
      const bound = claim?.status?.phase === 'Bound' ? facts.volumeOf(claim.spec?.volumeName ?? '') : undefined
      const isBound = bound !== undefined && bound.spec?.claimRef?.uid === claim?.metadata?.uid
      // One that is the pod's own nobody keeps from others.
      const { name, iscsi, fc } = volume
      const spec = { ...(iscsi && { iscsi }), ...(fc && { fc }), accessModes: ['ReadWriteMany'] }
      const found: PersistentVolume = isBound ? bound : { metadata: { name }, spec: spec as PersistentVolumeSpec }
      const key = diskName(found.spec ?? {})
      if (key !== undefined) wanted.set(key, { volume: found, pods: [...(wanted.get(key)?.pods ?? []), pod] })
    }
  }
  return wanted
}

export interface AttachmentSteps {
  attach: { name: string; wanted: Wanted }[]
  /** Volumes that are elsewhere, and can be in one place only. */
  busy: Wanted[]
  /** Attachments that nobody needs any more. */
  detach: VolumeAttachment[]
  /** Disks that the node's status is to name, and did not before. */
  listed: Wanted[]
  /** What the node's status says is attached: before a volume is detached it is not there any more. */
  attached: string[]
}

const isShared = ({ spec }: PersistentVolume): boolean =>
  (spec?.accessModes ?? []).some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany')

/** @param node undefined: it is gone, and what it had with it */
export function attachmentSteps(nodeName: string, node: Node | undefined, facts: AttachmentFacts): AttachmentSteps {
  const wanted = wantedOn(nodeName, facts)
  const here = facts.attachments.filter(({ spec }) => spec.nodeName === nodeName)
  const inUse = new Set(node?.status?.volumesInUse)
  const steps: AttachmentSteps = { attach: [], busy: [], detach: [], listed: [], attached: [] }
  for (const [name, one] of wanted) {
    if (here.some(({ metadata }) => metadata?.name === name)) continue
    const volumeName = one.volume.metadata?.name
    const isElsewhere = facts.attachments.some(
      ({ spec }) => spec.source.persistentVolumeName === volumeName && spec.nodeName !== nodeName,
    )
    if (isElsewhere && !isShared(one.volume)) steps.busy.push(one)
    else steps.attach.push({ name, wanted: one })
  }
  for (const attachment of here) {
    const { metadata, spec, status } = attachment
    const volume = facts.volumeOf(spec.source.persistentVolumeName ?? '')
    const name = metadata?.name ?? ''
    const isNeeded = node !== undefined && (wanted.has(name) || (volume !== undefined && inUse.has(uniqueName(volume))))
    if (isNeeded && status?.attached && !metadata?.deletionTimestamp && volume) steps.attached.push(uniqueName(volume))
    // Those of other makers are theirs.
    const isOurs = volume === undefined || name === nameFor(volume, nodeName)
    if (!isNeeded && isOurs && !metadata?.deletionTimestamp) steps.detach.push(attachment)
  }
  if (node) addDisks(steps, node, facts)
  steps.attached.sort()
  return steps
}

function addDisks(steps: AttachmentSteps, node: Node, facts: AttachmentFacts): void {
  const name = node.metadata?.name ?? ''
  const wanted = disksOn(name, facts)
  const namesOf = ({ status }: Node): string[] => (status?.volumesAttached ?? []).map((one) => one.name)
  const before = new Set(namesOf(node))
  const elsewhere = new Set(facts.nodes.filter(({ metadata }) => metadata?.name !== name).flatMap(namesOf))
  for (const [key, one] of wanted) {
    if (before.has(key)) steps.attached.push(key)
    else if (elsewhere.has(key) && !isShared(one.volume)) steps.busy.push(one)
    else {
      steps.listed.push(one)
      steps.attached.push(key)
    }
  }
  const inUse = node.status?.volumesInUse ?? []
  steps.attached.push(...inUse.filter((key) => isDisk(key) && before.has(key) && !wanted.has(key)))
}

const isDisk = (name: string): boolean => /^kubernetes\.io\/(iscsi|fc)\//.test(name)

/** Whether a name in a node's status is of a volume that is listed here. */
export const isListed = (name: string): boolean => name.startsWith('kubernetes.io/csi/') || isDisk(name)
