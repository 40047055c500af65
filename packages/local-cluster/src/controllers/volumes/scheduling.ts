// What the volumes of a pod want of a node. Pure.
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { CSINode, StorageClass } from 'kubernetes-types/storage/v1.d.ts'
import { bindCompleted, noProvisioner, selectedNode } from './binding.ts'
import { classOf, findVolume, isDelayed, isReachable } from './match.ts'
import { claimsOf, notForPod } from './pod-claims.ts'
import type { PodClaim } from './pod-claims.ts'

export interface VolumeFacts {
  claimOf(namespace: string, name: string): PersistentVolumeClaim | undefined
  volumes: readonly PersistentVolume[]
  classes: readonly StorageClass[]
  csiNodes: readonly CSINode[]
}

const isBound = ({ metadata, spec }: PersistentVolumeClaim): boolean =>
  Boolean(spec?.volumeName) && metadata?.annotations?.[bindCompleted] !== undefined

const known = (pod: Pod, facts: VolumeFacts): PersistentVolumeClaim[] =>
  claimsOf(pod).flatMap(({ name }) => facts.claimOf(pod.metadata?.namespace ?? '', name) ?? [])

const classNamed = ({ classes }: VolumeFacts, claim: PersistentVolumeClaim): StorageClass | undefined =>
  classes.find(({ metadata }) => metadata?.name === classOf(claim))

/** What a pod has to wait for, whatever the node; undefined when nodes can be looked at. */
export function volumesMissing(pod: Pod, facts: VolumeFacts): string | undefined {
  for (const claim of claimsOf(pod)) {
    const why = claimMissing(pod, claim, facts)
    if (why !== undefined) return why
  }
  const immediate = known(pod, facts).some(
    (claim) => !isBound(claim) && (Boolean(claim.spec?.volumeName) || !isDelayed(classNamed(facts, claim))),
  )
  return immediate ? 'pod has unbound immediate PersistentVolumeClaims' : undefined
}

function claimMissing(pod: Pod, { name, isEphemeral }: PodClaim, facts: VolumeFacts): string | undefined {
  const claim = facts.claimOf(pod.metadata?.namespace ?? '', name)
  if (!claim) {
    return isEphemeral
      ? `waiting for ephemeral volume controller to create the persistentvolumeclaim "${name}"`
      : `persistentvolumeclaim "${name}" not found`
  }
  if (claim.status?.phase === 'Lost') {
    return `persistentvolumeclaim "${name}" bound to non-existent persistentvolume "${claim.spec?.volumeName ?? ''}"`
  }
  if (claim.metadata?.deletionTimestamp) return `persistentvolumeclaim "${name}" is being deleted`
  return isEphemeral ? notForPod(pod, claim) : undefined
}

/** What has to be written before the pod can go to the node; nothing when all is bound. */
export interface VolumePlan {
  bind: { claim: PersistentVolumeClaim; volume: PersistentVolume }[]
  provision: PersistentVolumeClaim[]
}

/** @param others pods that run, or are about to @returns why the node can't be, or what is to be done */
export function planVolumes(
  pod: Pod,
  node: Node,
  others: { everywhere: readonly Pod[]; here: readonly Pod[] },
  facts: VolumeFacts,
): string | VolumePlan {
  const claims = known(pod, facts)
  const [bound, open] = [claims.filter(isBound), claims.filter((claim) => !isBound(claim))]
  if (claims.some((claim) => isTaken(pod, claim, others.everywhere))) {
    return 'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode'
  }
  if (exceedsLimit(pod, node, others.here, facts)) return 'node(s) exceed max volume count'
  for (const claim of bound) {
    const volume = facts.volumes.find(({ metadata }) => metadata?.name === claim.spec?.volumeName)
    if (!volume) return 'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)'
    if (!isReachable(volume, node)) return "node(s) didn't match PersistentVolume's node affinity"
  }
  const plan: VolumePlan = { bind: [], provision: [] }
  const taken = new Set<string>()
  for (const claim of open) {
    const chosen = claim.metadata?.annotations?.[selectedNode]
    const volume = chosen === undefined ? findVolume(claim, facts.volumes, { node, taken }) : undefined
    if (volume) {
      taken.add(volume.metadata?.name ?? '')
      plan.bind.push({ claim, volume })
    } else if ((chosen === undefined || chosen === node.metadata?.name) && canProvision(claim, node, facts)) {
      plan.provision.push(claim)
    } else return "node(s) didn't find available persistent volumes to bind"
  }
  return plan
}

/** Whether another pod has a claim that only one pod may have. */
const isTaken = (pod: Pod, claim: PersistentVolumeClaim, everywhere: readonly Pod[]): boolean =>
  Boolean(claim.spec?.accessModes?.includes('ReadWriteOncePod')) &&
  everywhere.some(
    (other) =>
      other.metadata?.uid !== pod.metadata?.uid &&
      other.metadata?.namespace === pod.metadata?.namespace &&
      claimsOf(other).some(({ name }) => name === claim.metadata?.name),
  )

function canProvision(claim: PersistentVolumeClaim, { metadata }: Node, facts: VolumeFacts): boolean {
  const volumeClass = classNamed(facts, claim)
  if (!volumeClass?.provisioner || volumeClass.provisioner === noProvisioner) return false
  const terms = volumeClass.allowedTopologies ?? []
  const labels = metadata?.labels ?? {}
  return (
    terms.length === 0 ||
    terms.some(({ matchLabelExpressions = [] }) =>
      matchLabelExpressions.every(({ key, values }) => values.includes(labels[key] ?? '')),
    )
  )
}

/** Volumes of each CSI driver, by driver and handle: one that several pods have counts once. */
function volumesOf(pods: readonly Pod[], facts: VolumeFacts): Set<string> {
  const sources = pods.flatMap((pod) =>
    known(pod, facts).map((claim) => {
      const csi = facts.volumes.find(({ metadata }) => metadata?.name === claim.spec?.volumeName)?.spec?.csi
      // One that is yet to be made counts as well.
      return csi
        ? `${csi.driver}^${csi.volumeHandle}`
        : `${classNamed(facts, claim)?.provisioner ?? ''}^ ${claim.metadata?.uid}`
    }),
  )
  return new Set(sources)
}

function exceedsLimit(pod: Pod, node: Node, here: readonly Pod[], facts: VolumeFacts): boolean {
  const drivers = facts.csiNodes.find(({ metadata }) => metadata?.name === node.metadata?.name)?.spec.drivers ?? []
  const limited = drivers.filter(({ allocatable }) => allocatable?.count !== undefined)
  if (limited.length === 0) return false
  const [own, present] = [volumesOf([pod], facts), volumesOf(here, facts)]
  const count = (driver: string, volumes: Iterable<string>): number =>
    [...volumes].filter((one) => one.startsWith(`${driver}^`)).length
  return limited.some(
    ({ name, allocatable }) =>
      count(name, own) > 0 && count(name, new Set([...own, ...present])) > (allocatable?.count ?? 0),
  )
}
