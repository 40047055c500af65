// Attachable volumes: the node tells which it uses, a controller attaches them and says so, and only then are they mounted.
import { attachmentName, type CsiVolume, uniqueVolumeName } from '@nodelet/csi-node'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { StorageObjects } from './objects.ts'

/** How long a pod's turn waits, in milliseconds; then it is told, and comes again. */
const waitMs = 123_000
/**
 * Between looks at an attachment that the node's status knows, and that does not know it itself; for one that the status does not know
 * it is twice as long each time.
 */
const lookMs = 500

export interface AttachmentsOptions {
  nodeName: string
  objects: Pick<StorageObjects, 'attachment'>
  /** This node as last seen. */
  node(): Node | undefined
  /** Volumes that are or may be staged. */
  inUse(): readonly string[]
  /** `volumesInUse` is another one. */
  changed(): void
  /** A volume of the driver could not be attached: the node has as many as it can have. */
  exhausted?(driver: string): void
  clock: Clock
}

export interface Attachments {
  /** Of node.status.volumesInUse. */
  volumesInUse(): string[]
  /**
   * Waits until a volume is attached.
   * @param options `seesLimit`: it counts when the node has too many volumes; default false
   * @returns `attachmentMetadata`
   * @throws NotAttachedError after two minutes; AttachLimitError; Error in upstream's words; the signal's reason
   */
  wait(
    volume: CsiVolume,
    podUid: string,
    signal: AbortSignal,
    options?: { seesLimit?: boolean },
  ): Promise<Readonly<Record<string, string>>>
  /**
   * Waits until node.status.volumesAttached names a volume of no driver: a controller says so, and nobody has to do anything.
   * @param name as it is named there @throws NotAttachedError after two minutes; the signal's reason
   */
  waitListed(name: string, podUid: string, signal: AbortSignal): Promise<void>
  /** Volumes whose attachment a pod is waiting for, by their unique names. */
  awaited(podUid: string): string[]
  /** The pod wants none any more. */
  release(podUid: string): void
  /** The node is another one: what waits for it looks. */
  nodeChanged(): void
}

/** The volume is not attached yet. */
export class NotAttachedError extends Error {
  override readonly name = 'NotAttachedError'
}

/** The volume cannot be attached: the node has as many of its driver as it can have. */
export class AttachLimitError extends Error {
  override readonly name = 'AttachLimitError'
}

export function createAttachments(options: AttachmentsOptions): Attachments {
  const { nodeName, objects, node, inUse, changed, exhausted, clock } = options
  /** Volume → pods that want it. */
  const wanted = new Map<string, Set<string>>()
  const waiting = new Set<() => void>()
  const awaited = new Set<{ podUid: string; name: string }>()

  const isAttached = (name: string): boolean => {
    const { volumesInUse = [], volumesAttached = [] } = node()?.status ?? {}
    return volumesInUse.includes(name) && volumesAttached.some((one) => one.name === name)
  }
  const pause = async (ms: number, signal: AbortSignal): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = (): void => resolve()
    const cancel = clock.after(ms, wake)
    waiting.add(wake)
    signal.addEventListener('abort', wake, { once: true })
    await promise
    cancel()
    waiting.delete(wake)
    signal.removeEventListener('abort', wake)
    signal.throwIfAborted()
  }

  const volumesInUse = (): string[] => [...new Set([...inUse(), ...wanted.keys()])].toSorted()

  /**
   * @param look gives what is waited for, or nothing yet; before the node lists the volume only when it `looksEarly`
   */
  const until = async <T>(
    { name, podUid }: { name: string; podUid: string },
    signal: AbortSignal,
    look: (isAttached: boolean) => Promise<T | undefined>,
    looksEarly = false,
  ): Promise<T> => {
    const one = { podUid, name }
    awaited.add(one)
    const pods = wanted.get(name) ?? new Set<string>()
    const isNew = !wanted.has(name)
    wanted.set(name, pods.add(podUid))
    if (isNew) changed()
    const untilMs = clock.now() + waitMs
    try {
      for (let pauseMs = lookMs; ; pauseMs *= 2) {
        signal.throwIfAborted()
        const attached = isAttached(name)
        const found = attached || looksEarly ? await look(attached) : undefined
        if (found !== undefined) return found
        const leftMs = untilMs - clock.now()
        if (leftMs <= 0) throw new NotAttachedError('timed out waiting for the condition')
        // Nodes may not watch attachments.
        const nextMs = attached ? lookMs : looksEarly ? pauseMs : leftMs
        await pause(Math.min(nextMs, leftMs), signal)
      }
    } finally {
      awaited.delete(one)
    }
  }

  return {
    volumesInUse,
    async wait({ driver, volumeHandle }, podUid, signal, { seesLimit = false } = {}) {
      const attachment = attachmentName(driver, volumeHandle, nodeName)
      const look = async (isAttached: boolean): Promise<Readonly<Record<string, string>> | undefined> => {
        const there = await objects.attachment(attachment, signal)
        if (seesLimit && isExhausted(there)) {
          exhausted?.(driver)
          throw new AttachLimitError(there?.status?.attachError?.message ?? 'the node has no room for the volume')
        }
        return isAttached ? metadataOf(attachment, there) : undefined
      }
      return until({ name: uniqueVolumeName(driver, volumeHandle), podUid }, signal, look, seesLimit)
    },
    async waitListed(name, podUid, signal) {
      await until({ name, podUid }, signal, async () => true)
    },
    awaited: (podUid) => [...awaited].filter((one) => one.podUid === podUid).map(({ name }) => name),
    release(podUid) {
      for (const [name, pods] of wanted) if (pods.delete(podUid) && pods.size === 0) wanted.delete(name)
      // What was staged before this process was wanted by none of its pods.
      const told = node()?.status?.volumesInUse ?? []
      const names = new Set(volumesInUse())
      if (told.some((name) => !names.has(name))) changed()
    },
    nodeChanged() {
      for (const wake of waiting) wake()
    },
  }
}

/** Code of gRPC. */
const resourceExhausted = 8

/** Field that is newer than the types: a code of gRPC that the driver answered. */
type AttachError = NonNullable<NonNullable<VolumeAttachment['status']>['attachError']> & { errorCode?: number }

function isExhausted(attachment: VolumeAttachment | undefined): boolean {
  const error: AttachError | undefined = attachment?.status?.attachError
  return error?.errorCode === resourceExhausted
}

/** Undefined: it is not attached yet. @throws Error: it will not be */
function metadataOf(
  name: string,
  attachment: VolumeAttachment | undefined,
): Readonly<Record<string, string>> | undefined {
  if (!attachment) throw new Error(`volume attachment ${name} not found`)
  if (attachment.metadata?.deletionTimestamp) throw new Error('volume attachment is being deleted')
  const { attached, attachError, attachmentMetadata } = attachment.status ?? {}
  if (attached) return attachmentMetadata ?? {}
  if (attachError) throw new Error(attachError.message ?? 'the volume could not be attached')
  return undefined
}
