// Volumes that the API server knows: claims found out, attached, and handed to their drivers.
import type { CsiVolumes } from '@nodelet/csi-node'
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import type { CsiPlan } from '../volume/plan.ts'
import { type ReadyVolume, VolumeError } from '../volume/types.ts'
import { type Attachments, NotAttachedError } from './attach.ts'
import { type BoundVolume, boundVolume, checkAffinity, volumeOfClaim, wantedClaims } from './claim.ts'
import { csiPod, driverSettings, needsAttach } from './csi-source.ts'
import type { VolumeExpander } from './expander.ts'
import type { MeterableVolume, VolumeMeter } from './meter.ts'
import type { StorageObjects } from './objects.ts'
import { mountLabel, type SelinuxFacts } from './selinux.ts'

/** What volumes of claims and of drivers need. */
export interface VolumeStorage {
  objects: StorageObjects
  csi: CsiVolumes
  attachments: Attachments
  meter: VolumeMeter
  expander: VolumeExpander
  /** None: SELinux is off. */
  selinux?: SelinuxFacts | undefined
  /** This node as last seen. */
  node(): Node | undefined
  /** Tells of a pod. */
  tell(pod: Pod, event: NodeletEvent): void
  clock: { now(): number }
}

/** A driver that refreshes what is in its volumes is asked so often, or up to half as long again: milliseconds. */
const republishMs = 60_000

/** @returns by the name of the pod's volume @throws VolumeError in upstream's words */
export async function bindClaims(
  storage: VolumeStorage | undefined,
  pod: Pod,
  isUsed: (volume: string) => boolean,
  signal: AbortSignal,
): Promise<Map<string, BoundVolume>> {
  const bound = new Map<string, BoundVolume>()
  for (const wanted of wantedClaims(pod, isUsed)) {
    try {
      if (!storage) throw new Error('this kubelet has no API server')
      const { objects, csi } = storage
      const isMounted = (specName: string): boolean =>
        csi.published().some((one) => one.podUid === pod.metadata?.uid && one.specName === specName)
      const claim = await objects.claim(pod.metadata?.namespace ?? 'default', wanted.name, signal)
      const name = volumeOfClaim(pod, wanted, claim, isMounted)
      if (claim) bound.set(wanted.volume, boundVolume(pod, wanted, claim, await objects.volume(name, signal)))
    } catch (cause) {
      signal.throwIfAborted()
      throw unableError(wanted.volume, { failed: [wanted.volume] }, cause)
    }
  }
  return bound
}

/** What a pod waits for, in the words of the Go kubelet. */
export function unableError(
  volume: string,
  { unattached = [], failed = [] }: { unattached?: readonly string[]; failed?: readonly string[] },
  cause: unknown,
): VolumeError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const lists = `unmounted volumes=[${volume}], unattached volumes=[${unattached.join(' ')}], failed to process volumes=[${failed.join(' ')}]`
  return new VolumeError(volume, `Unable to attach or mount volumes: ${lists}: ${reason}`, { cause })
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
  const publishContext = needsAttach(volume, driver)
    ? await attachments.wait(volume, pod.metadata?.uid ?? '', signal).catch((cause: unknown) => {
        signal.throwIfAborted()
        if (cause instanceof NotAttachedError) throw cause
        throw waitError(name, volume, cause)
      })
    : undefined
  const path = await csi.setUp(volume, csiPod(pod), { settings, publishContext }, signal)
  if (first && volume.volumeMode === 'Block') {
    const message = `MapVolume.MapPodDevice succeeded for volume "${volume.specName}" volumeMapPath "${path}"`
    storage.tell(pod, { type: 'Normal', reason: 'SuccessfulMountVolume', message })
  }
  await expander.mounted(pod, plan, signal)
  meter.follow(pod, meterable(csi, plan, pod))
  const renewAt = settings?.requiresRepublish ? clock.now() + republishMs * (1 + Math.random() / 2) : Infinity
  return { path, renewAt, isLabelled: seLinuxLabel !== undefined }
}

const meterable = (csi: CsiVolumes, { name, volume, bound }: CsiPlan, pod: Pod): MeterableVolume => ({
  name,
  claim: claimRef(bound),
  source: volume.driver,
  measure: async (signal) => csi.stats(pod.metadata?.uid ?? '', volume.specName, signal),
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
  return new VolumeError(name, message, { cause, reason: isBlock ? 'FailedMapVolume' : 'FailedMount' })
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
