// Volumes that the API server knows: claims found out, attached, and handed to their drivers.
import type { CsiVolumes } from '@nodelet/csi-node'
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import type { CsiPlan } from '../volume/plan.ts'
import { type ReadyVolume, VolumeError } from '../volume/types.ts'
import { pluginOf, timing, type VolumeWork } from '../volume/work.ts'
import { allocatablePeriodMs } from './allocatable.ts'
import { AttachLimitError, type Attachments, NotAttachedError } from './attach.ts'
import { type BoundVolume, boundVolume, checkAffinity, volumeOfClaim, wantedClaims } from './claim.ts'
import { csiPod, driverSettings, needsAttach } from './csi-source.ts'
import type { VolumeExpander } from './expander.ts'
import { blockStats, type MeterableVolume, type VolumeMeter } from './meter.ts'
import type { NodeDisks } from './node-disks.ts'
import type { StorageObjects } from './objects.ts'
import { mountLabel, type SelinuxFacts } from './selinux.ts'

/** What volumes of claims and of drivers need. */
export interface VolumeStorage {
  objects: StorageObjects
  csi: CsiVolumes
  attachments: Attachments
  meter: VolumeMeter
  expander: VolumeExpander
  /** Default: those of the volume manager itself. */
  disks?: NodeDisks
  /** Whether a controller says what is attached. */
  isAttachedByController: boolean
  /** None: SELinux is off. */
  selinux?: SelinuxFacts | undefined
  /** This node as last seen. */
  node(): Node | undefined
  /** Tells of a pod. */
  tell(pod: Pod, event: NodeletEvent): void
  /** Is told of work that was done or failed; default: nobody is. */
  worked?: ((work: VolumeWork) => void) | undefined
  clock: { now(): number }
}

/** A driver that refreshes what is in its volumes is asked so often, or up to half as long again: milliseconds. */
const republishMs = 60_000

/** Claims of a pod, by the names of its volumes. */
export interface FoundClaims {
  bound: Map<string, BoundVolume>
  /** Why they are not bound, in upstream's words. */
  failed: Map<string, Error>
}

/** @throws the signal's reason */
export async function findClaims(
  storage: VolumeStorage | undefined,
  pod: Pod,
  isUsed: (volume: string) => boolean,
  signal: AbortSignal,
): Promise<FoundClaims> {
  const found: FoundClaims = { bound: new Map(), failed: new Map() }
  for (const wanted of wantedClaims(pod, isUsed)) {
    try {
      if (!storage) throw new Error('this kubelet has no API server')
      const { objects, csi } = storage
      const isMounted = (specName: string): boolean =>
        csi.published().some((one) => one.podUid === pod.metadata?.uid && one.specName === specName)
      const claim = await objects.claim(pod.metadata?.namespace ?? 'default', wanted.name, signal)
      const name = volumeOfClaim(pod, wanted, claim, isMounted)
      if (claim) found.bound.set(wanted.volume, boundVolume(pod, wanted, claim, await objects.volume(name, signal)))
    } catch (cause) {
      signal.throwIfAborted()
      found.failed.set(wanted.volume, cause as Error)
    }
  }
  return found
}

/** Volumes of a pod by how far they have come; the names are the pod's own. */
export interface Lacking {
  unmounted: readonly string[]
  unattached?: readonly string[]
  failed?: readonly string[]
}

/** What a pod waits for, in the words of the Go kubelet. */
export function unableError({ unmounted, unattached = [], failed = [] }: Lacking, reason: string): VolumeError {
  const list = (names: readonly string[]): string => `[${names.toSorted().join(' ')}]`
  const lists = `unmounted volumes=${list(unmounted)}, unattached volumes=${list(unattached)}, failed to process volumes=${list(failed)}`
  return new VolumeError(unmounted[0] ?? '', `Unable to attach or mount volumes: ${lists}: ${reason}`)
}

/** @throws Error in upstream's words: the volume cannot be used on this node */
export function checkNode(bound: BoundVolume | undefined, node: Node | undefined): void {
  if (!bound) return
  try {
    checkAffinity(bound.volume, node)
  } catch (cause) {
    const name = bound.volume.metadata?.name
    throw new VolumeError(
      name ?? '',
      `MountVolume.NodeAffinity check failed for volume "${name}" : ${(cause as Error).message}`,
      { cause },
    )
  }
}

/** @returns where it is, and when to look at it again @throws VolumeError, CsiVolumeError */
export async function setUpCsi(
  storage: VolumeStorage,
  plan: CsiPlan,
  pod: Pod,
  first: boolean,
  signal: AbortSignal,
): Promise<ReadyVolume> {
  const { objects, csi, attachments, meter, expander, clock } = storage
  const { name } = plan
  refuseSecondPod(storage, name, plan.volume, pod)
  const driver = await objects.driver(plan.volume.driver, signal)
  const settings = driverSettings(driver)
  const seLinuxLabel = storage.selinux && mountLabel(storage.selinux, pod, name, plan.volume, settings?.seLinuxMount)
  const volume = { ...plan.volume, seLinuxLabel }
  const podUid = pod.metadata?.uid ?? ''
  const seesLimit = allocatablePeriodMs(driver) !== undefined
  const isBlock = volume.volumeMode === 'Block'
  const time = timing(storage.worked, pluginOf(plan), { migrated: volume.migrated, signal })
  const wait = async (): Promise<Readonly<Record<string, string>>> =>
    attachments.wait(volume, podUid, signal, { seesLimit }).catch((cause: unknown) => {
      signal.throwIfAborted()
      if (cause instanceof NotAttachedError) throw cause
      throw waitError(name, volume, cause)
    })
  const publishContext = needsAttach(volume, driver)
    ? await time('verify_controller_attached_volume', wait())
    : undefined
  const setUp = csi.setUp(volume, csiPod(pod), { settings, publishContext }, signal)
  const path = await time(isBlock ? 'map_volume' : 'volume_mount', setUp)
  if (first && isBlock) tellMapped(storage, volume.specName, pod)
  await expander.mounted(pod, plan, signal)
  meter.follow(pod, meterable(csi, plan, pod))
  const renewAt = settings?.requiresRepublish ? clock.now() + republishMs * (1 + Math.random() / 2) : Infinity
  return { path, renewAt, isLabelled: seLinuxLabel !== undefined }
}

/** Names the two places that a block volume has on the node, as the Go kubelet does. */
function tellMapped({ tell, csi }: VolumeStorage, specName: string, pod: Pod): void {
  const { globalMapPath, volumeMapPath } = csi.mapPaths(pod.metadata?.uid ?? '', specName)
  for (const place of [`globalMapPath "${globalMapPath}"`, `volumeMapPath "${volumeMapPath}"`]) {
    const message = `MapVolume.MapPodDevice succeeded for volume "${specName}" ${place}`
    tell(pod, { type: 'Normal', reason: 'SuccessfulMountVolume', message })
  }
}

const meterable = (csi: CsiVolumes, { name, volume, bound }: CsiPlan, pod: Pod): MeterableVolume => ({
  name,
  claim: claimRef(bound),
  source: volume.driver,
  async measure(signal) {
    const stats = await csi.stats(pod.metadata?.uid ?? '', volume.specName, signal)
    return stats && volume.volumeMode === 'Block' ? blockStats(stats) : stats
  },
})

/** As a pod's statistics name it. */
export function claimRef(bound: BoundVolume | undefined): MeterableVolume['claim'] {
  const { name = '', namespace = '' } = bound?.claim.metadata ?? {}
  return bound && { name, namespace }
}

function waitError(name: string, { specName, volumeMode }: CsiPlan['volume'], cause: unknown): VolumeError {
  const isBlock = volumeMode === 'Block'
  const operation = isBlock ? 'MapVolume.WaitForAttach' : 'MountVolume.WaitForAttach'
  const message = `${operation} failed for volume "${specName}" : ${(cause as Error).message}`
  return new VolumeError(name, message, {
    cause,
    reason: isBlock ? 'FailedMapVolume' : 'FailedMount',
    isLimit: cause instanceof AttachLimitError,
  })
}

/** ReadWriteOncePod: the scheduler sees to it, save for pods that it does not see. */
function refuseSecondPod({ csi }: VolumeStorage, name: string, volume: CsiPlan['volume'], { metadata }: Pod): void {
  if (!volume.accessModes.includes('ReadWriteOncePod')) return
  const other = csi
    .published()
    .some(
      (one) => one.driver === volume.driver && one.volumeHandle === volume.volumeHandle && one.podUid !== metadata?.uid,
    )
  if (!other) return
  const why = 'volume uses the ReadWriteOncePod access mode and is already in use by another pod'
  throw new VolumeError(name, `MountVolume.SetUp failed for volume "${volume.specName}" : ${why}`)
}
