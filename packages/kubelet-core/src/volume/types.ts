// What pod workers ask of volumes.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'

/** Volumes of the pods of this node. */
export interface VolumeManager {
  /**
   * Makes every volume of the pod ready and answers where each is: volume name → host path. Safe to run again.
   *
   * @throws VolumeError naming the volume; the worker reports it as a FailedMount event and tries again
   */
  mount(pod: Pod, signal?: AbortSignal): Promise<ReadonlyMap<string, string>>
  /** Unmounts and removes what {@link mount} made for this pod; user data of hostPath volumes stays. Safe to run again. */
  unmount(podUid: string): Promise<void>
  /** Unmounts what pods have that are not kept, once the sources are read. */
  removeOrphans(isKept: (podUid: string) => boolean): Promise<void>
  /** Volumes that pods want, and whether they are there; undefined: it does not count. */
  counts?(): readonly { plugin: string; ready: boolean }[]
  /** Volumes of a pod that are mounted with an SELinux label, which the runtime does not change then. */
  labelled?(podUid: string): ReadonlySet<string>
  /** Supplemental groups that the volumes of a pod ask for, once they are mounted. */
  groups?(podUid: string): readonly bigint[]
  close(): Promise<void>
}

/** A ready volume. */
export interface ReadyVolume {
  path: string
  /** When its files should be looked at again, in milliseconds since the epoch; infinite when never. */
  renewAt: number
  /** It is mounted with an SELinux label: its files have it already. */
  isLabelled?: boolean
}

/** A volume that could not be made ready. */
export class VolumeError extends Error {
  override readonly name = 'VolumeError'
  readonly volume: string
  /** Of the event. */
  readonly reason: 'FailedMount' | 'FailedMapVolume'
  /** It was told before, and not tried again yet. */
  readonly isRepeat: boolean
  /** The node has as many volumes of its driver as it can have: the pod has to go elsewhere. */
  readonly isLimit: boolean
  /** Other volumes of the pod that failed meanwhile. */
  others: readonly VolumeError[] = []

  constructor(
    volume: string,
    message: string,
    options: ErrorOptions & { reason?: 'FailedMount' | 'FailedMapVolume'; isRepeat?: boolean; isLimit?: boolean } = {},
  ) {
    super(message, options)
    this.volume = volume
    this.reason = options.reason ?? 'FailedMount'
    this.isRepeat = options.isRepeat ?? false
    this.isLimit = options.isLimit ?? false
  }
}

/** What a pod's events tell of volumes that could not be made ready: nothing that they have told before. */
export function failureEvents(error: unknown): NodeletEvent[] {
  if (!(error instanceof VolumeError)) {
    return [{ type: 'Warning', reason: 'FailedMount', message: (error as Error).message }]
  }
  const fresh = [error, ...error.others].filter(({ isRepeat }) => !isRepeat)
  return fresh.map(({ reason, message }) => ({ type: 'Warning', reason, message }))
}
