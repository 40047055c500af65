// Grows volumes of pods: when they are mounted, and while they are. Kubelets may not watch claims, so it looks time and again.
import { type CsiVolume, type CsiVolumes, uniqueVolumeName } from '@nodelet/csi-node'
import { isConflict } from '@nodelet/kube-client'
import type { PersistentVolume, PersistentVolumeClaim, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { NodeletEvent } from '../events.ts'
import type { Logger } from '../log.ts'
import { createTurns } from '../serial.ts'
import { parseQuantity } from '../quantity.ts'
import type { CsiPlan } from '../volume/plan.ts'
import { VolumeError } from '../volume/types.ts'
import { csiPod } from './csi-source.ts'
import {
  begunStatus,
  claimBytes,
  expansionFailure,
  expansionStep,
  failedStatus,
  finishedStatus,
  isSameExpansion,
  type StatusPatch,
  volumeBytes,
} from './expansion.ts'
import type { StorageObjects } from './objects.ts'

export interface VolumeExpanderOptions {
  nodeName: string
  objects: Pick<StorageObjects, 'claim' | 'volume' | 'patchClaimStatus'>
  csi: Pick<CsiVolumes, 'expand' | 'expands'>
  tell(pod: Pod, event: NodeletEvent): void
  tellClaim(claim: PersistentVolumeClaim, event: NodeletEvent): void
  /** Told of each try while the volume is mounted. */
  worked(volume: Pick<CsiVolume, 'driver' | 'migrated'>, success: boolean, seconds: number): void
  /** So long, or up to half as long again, after one look comes the next; milliseconds. */
  periodMs: number
  clock: Clock
  log: Logger
}

export interface VolumeExpander {
  /**
   * A pod has the volume: grows it if it should, and looks after it from then on, unless the pod only reads it. Again: nothing
   * happens.
   * @throws VolumeError: it could not grow; the signal's reason
   */
  mounted(pod: Pod, plan: CsiPlan, signal: AbortSignal): Promise<void>
  /** The pod's volumes go. */
  release(podUid: string): void
  /** Waits for looks under way. */
  close(): Promise<void>
}

/** Tries to change a claim that others change, too. */
const writeTries = 4

/** A volume of this node, whichever pods have it. */
interface Known {
  bytes: bigint
  /** Its driver does not grow it while it is in use here. */
  isInUse: boolean
}

interface Follow {
  pod: Pod
  plan: CsiPlan
  key: string
  ending: AbortController
  /** Takes the next look back. */
  cancel(): void
}

/** A failure to grow, in the words of an event. */
class ExpansionError extends Error {
  override readonly name = 'ExpansionError'
  readonly isRepeat: boolean
  constructor(message: string, cause: unknown, isRepeat: boolean) {
    super(message, { cause })
    this.isRepeat = isRepeat
  }
}

export function createVolumeExpander(options: VolumeExpanderOptions): VolumeExpander {
  const { nodeName, objects, csi, tell, tellClaim, worked, periodMs, clock, log } = options
  const followed = new Map<string, Map<string, Follow>>()
  const volumes = new Map<string, Known>()
  const turns = createTurns()
  const looks = new Set<Promise<void>>()

  const tellBoth = (pod: Pod, claim: PersistentVolumeClaim, event: NodeletEvent): void => {
    tell(pod, event)
    tellClaim(claim, event)
  }

  const readClaim = async ({ metadata }: PersistentVolumeClaim, signal: AbortSignal) => {
    const { namespace = '', name = '', uid } = metadata ?? {}
    const claim = await objects.claim(namespace, name, signal)
    return claim?.metadata?.uid === uid ? claim : undefined
  }

  /** Others write the claim, too: what they say of other things is no hindrance. @throws ExpansionError */
  const write = async (
    claim: PersistentVolumeClaim,
    patchOf: (claim: PersistentVolumeClaim) => StatusPatch | undefined,
    signal: AbortSignal,
  ): Promise<PersistentVolumeClaim> => {
    let now = claim
    try {
      for (let left = writeTries; ; left--) {
        const patch = patchOf(now)
        if (!patch) return now
        try {
          return await objects.patchClaimStatus(now, patch, signal)
        } catch (error) {
          const fresh = isConflict(error) && left > 1 ? await readClaim(claim, signal) : undefined
          if (!fresh || !isSameExpansion(fresh, claim)) throw error
          now = fresh
        }
      }
    } catch (cause) {
      signal.throwIfAborted()
      const message = `mountVolume.NodeExpandVolume update pvc status failed: ${(cause as Error).message}`
      throw new ExpansionError(message, cause, false)
    }
  }

  /** Asks the driver. @returns whether it is done @throws ExpansionError */
  const ask = async (
    { pod, plan }: Follow,
    claim: PersistentVolumeClaim,
    storage: string,
    isTold: boolean,
    signal: AbortSignal,
  ): Promise<'done' | 'in use'> => {
    try {
      const requiredBytes = Number(parseQuantity(storage))
      await csi.expand({ volume: plan.volume, pod: csiPod(pod), requiredBytes }, signal)
      return 'done'
    } catch (cause) {
      signal.throwIfAborted()
      const failure = expansionFailure(cause)
      const { message, kind, isRepeat, isInUse } = failure
      if (isTold && kind === 'final' && !isRepeat) {
        await write(claim, (now) => failedStatus(now, failure, clock.now()), signal).catch((err: unknown) => {
          signal.throwIfAborted()
          log.warn({ err, volume: plan.volume.specName }, 'a claim cannot be told that its volume did not grow')
        })
      }
      if (!isInUse) throw new ExpansionError(message, cause, isRepeat)
      log.warn({ err: cause, volume: plan.volume.specName }, 'a volume does not grow while it is in use')
      return 'in use'
    }
  }

  /** @throws ExpansionError; Error when it is not known whether the driver can */
  const grow = async (
    follow: Follow,
    claim: PersistentVolumeClaim,
    volume: PersistentVolume,
    known: Known,
    knownBytes: bigint,
    signal: AbortSignal,
  ): Promise<void> => {
    const { pod, plan } = follow
    const { driver, specName, readOnly = false } = plan.volume
    const step = expansionStep({ claim, volume, readOnly, knownBytes })
    if (step.kind === 'wait') return
    if (step.kind === 'refuse') {
      const message = `MountVolume.NodeExpandVolume failed for volume "${specName}" requested read-only file system`
      tellBoth(pod, claim, { type: 'Warning', reason: 'FileSystemResizeFailed', message })
      // It still has to grow, for a pod that writes.
      return
    }
    // Without EXPAND_VOLUME there is nothing to do here.
    if (step.kind === 'expand' && (await csi.expands(driver, signal))) {
      const { storage, how } = step
      const begun = how === 'begin' ? await write(claim, begunStatus, signal) : claim
      const isTold = how === 'begin' || how === 'resume'
      if ((await ask(follow, begun, storage, isTold, signal)) === 'in use') {
        known.isInUse = true
        return
      }
      const message = `MountVolume.NodeExpandVolume succeeded for volume "${specName}" ${nodeName}`
      tellBoth(pod, claim, { type: 'Normal', reason: 'FileSystemResizeSuccessful', message })
      if (how !== 'repeat') await write(begun, (now) => finishedStatus(now, storage), signal)
    }
    const bytes = volumeBytes(volume)
    if (bytes > known.bytes) known.bytes = bytes
  }

  /** What the volume is now, when it should grow. */
  const read = async ({ plan, key }: Follow, signal: AbortSignal) => {
    const known = volumes.get(key)
    if (!known || known.isInUse || !plan.bound) return undefined
    const volume = await objects.volume(plan.volume.specName, signal)
    if (!volume || volume.metadata?.uid !== plan.bound.volume.metadata?.uid) return undefined
    if (volumeBytes(volume) <= known.bytes) return undefined
    const claim = await readClaim(plan.bound.claim, signal)
    return claim && { volume, claim, known }
  }

  const look = async (follow: Follow): Promise<void> => {
    const { signal } = follow.ending
    const { volume } = follow.plan
    const { specName } = volume
    let beganMs: number | undefined
    const tellWorked = (success: boolean): void => {
      if (beganMs !== undefined) worked(volume, success, (performance.now() - beganMs) / 1000)
    }
    try {
      await turns.take([follow.key], async () => {
        const found = await read(follow, signal)
        if (!found) return
        beganMs = performance.now()
        await grow(follow, found.claim, found.volume, found.known, found.known.bytes, signal)
      })
      tellWorked(true)
    } catch (error) {
      if (signal.aborted) return
      tellWorked(false)
      if (beganMs === undefined)
        log.debug({ err: error, volume: specName }, 'whether a volume should grow is not known')
      else if (!(error instanceof ExpansionError && error.isRepeat)) {
        const message = `NodeExpandVolume.NodeExpandVolume failed for volume "${specName}" : ${(error as Error).message}`
        tell(follow.pod, { type: 'Warning', reason: 'VolumeResizeFailed', message })
      }
    }
    schedule(follow)
  }

  const schedule = (follow: Follow): void => {
    if (follow.ending.signal.aborted) return
    follow.cancel = clock.after(periodMs * (1 + Math.random() / 2), () => {
      const going = look(follow).finally(() => looks.delete(going))
      looks.add(going)
    })
  }

  const end = ({ ending, cancel }: Follow): void => {
    ending.abort(new Error('the volume is not looked after any more'))
    cancel()
  }

  return {
    async mounted(pod, plan, signal) {
      const { bound, volume } = plan
      const uid = pod.metadata?.uid ?? ''
      if (!bound || followed.get(uid)?.has(plan.name)) return
      const key = uniqueVolumeName(volume.driver, volume.volumeHandle)
      const follow: Follow = { pod, plan, key, ending: new AbortController(), cancel: () => {} }
      const known = volumes.get(key) ?? { bytes: claimBytes(bound.claim), isInUse: false }
      try {
        await turns.take([key], async () => {
          // Meanwhile another pod may have had it grow.
          const grows = volumeBytes(bound.volume) > claimBytes(bound.claim)
          const claim = (grows ? await readClaim(bound.claim, signal) : undefined) ?? bound.claim
          await grow(follow, claim, bound.volume, known, claimBytes(claim), signal)
        })
      } catch (cause) {
        signal.throwIfAborted()
        const isBlock = volume.volumeMode === 'Block'
        const operation = isBlock ? 'MapVolume.MarkVolumeAsMounted' : 'MountVolume.Setup'
        const message = `${operation} failed while expanding volume for volume "${volume.specName}" : ${(cause as Error).message}`
        const isRepeat = cause instanceof ExpansionError && cause.isRepeat
        throw new VolumeError(plan.name, message, {
          cause,
          reason: isBlock ? 'FailedMapVolume' : 'FailedMount',
          isRepeat,
        })
      }
      volumes.set(key, known)
      followed.set(uid, (followed.get(uid) ?? new Map<string, Follow>()).set(plan.name, follow))
      if (!volume.readOnly) schedule(follow)
    },
    release(podUid) {
      const ended = [...(followed.get(podUid)?.values() ?? [])]
      followed.delete(podUid)
      const used = new Set([...followed.values()].flatMap((follows) => [...follows.values()].map(({ key }) => key)))
      for (const follow of ended) {
        end(follow)
        if (!used.has(follow.key)) volumes.delete(follow.key)
      }
    },
    async close() {
      for (const follows of followed.values()) for (const follow of follows.values()) end(follow)
      followed.clear()
      await Promise.all(looks)
    },
  }
}
