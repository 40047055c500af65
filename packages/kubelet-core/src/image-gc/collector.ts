// Removing images that nobody uses: when the disk fills, when they are old, or when eviction needs the room.
import { type ImageService, ImageSpec, isNotFound, type RuntimeService } from '@nodelet/cri-api'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { startPeriod } from '../node/period.ts'
import { readDisk } from '../stats/filesystem.ts'
import { bytesToFree, expired, type KnownImage, removable } from './plan.ts'

export interface ImageCollectorOptions {
  runtime: Pick<RuntimeService, 'listContainers'>
  imageService: Pick<ImageService, 'listImages' | 'removeImage' | 'imageFsInfo'>
  /** Image references that pods use otherwise than by a container. */
  usedByVolumes(): Iterable<string>
  configuration: Pick<
    KubeletConfiguration,
    'imageMinimumGCAge' | 'imageMaximumGCAge' | 'imageGCHighThresholdPercent' | 'imageGCLowThresholdPercent'
  >
  events: Pick<EventRecorder, 'recordNode'>
  /** Told of each image that was removed, and why. */
  removed?(reason: 'age' | 'space'): void
  /** Told of the IDs of all images that were there then, in milliseconds since the epoch. */
  seen?(ids: ReadonlySet<string>, thenMs: number): Promise<void>
  /** How large the file system of a path is, in bytes; default: of this machine. */
  diskOf?(path: string): Promise<{ capacity: bigint; available: bigint }>
  clock: Clock
  log: Logger
}

export interface ImageCollector {
  /** Looks which images there are; from the first look on each 5 minutes, and removes by thresholds and age. */
  start(): void
  /** One round. @throws Error when not enough could be freed */
  collect(signal: AbortSignal): Promise<void>
  /** Every image that is not used, however young. @returns how many bytes they had */
  removeUnused(signal: AbortSignal): Promise<bigint>
  close(): Promise<void>
}

const periodMs = 300_000

export function createImageCollector(options: ImageCollectorOptions): ImageCollector {
  const { runtime, imageService, configuration, events, removed, diskOf = readCapacity, clock, log } = options
  const { imageGCHighThresholdPercent: high, imageGCLowThresholdPercent: low } = configuration
  const minAgeMs = parseDuration(configuration.imageMinimumGCAge)
  const maxAgeMs = parseDuration(configuration.imageMaximumGCAge)
  const startedMs = clock.now()
  const known = new Map<string, Pick<KnownImage, 'firstSeenMs' | 'lastUsedMs'>>()
  let failures = 0

  const look = async (signal: AbortSignal): Promise<KnownImage[]> => {
    const thenMs = clock.now()
    const [{ images }, { containers }] = await Promise.all([
      imageService.listImages({}, { signal }),
      runtime.listContainers({}, { signal }),
    ])
    const names = new Set(options.usedByVolumes())
    for (const { image, imageRef, imageId } of containers) {
      for (const name of [image?.image, imageRef, imageId]) if (name) names.add(name)
    }
    const nowMs = clock.now()
    const seen = images.map(({ id, repoTags, repoDigests, size, pinned }): KnownImage => {
      const used = [id, ...repoTags, ...repoDigests].some((name) => names.has(name))
      const before = known.get(id) ?? { firstSeenMs: nowMs, lastUsedMs: 0 }
      const times = used ? { ...before, lastUsedMs: nowMs } : before
      known.set(id, times)
      return { id, bytes: size, pinned, used, ...times }
    })
    const there = new Set(seen.map(({ id }) => id))
    for (const id of known.keys()) if (!there.has(id)) known.delete(id)
    await options.seen?.(there, thenMs)
    return seen
  }

  /** @returns the bytes it had; 0 when it stays, which is told to the log */
  const remove = async ({ id, bytes }: KnownImage, reason: 'age' | 'space', signal: AbortSignal): Promise<bigint> => {
    try {
      await imageService.removeImage({ image: ImageSpec.create({ image: id }) }, { signal })
    } catch (error) {
      if (isNotFound(error)) return 0n
      signal.throwIfAborted()
      log.warn({ err: error, image: id }, 'an image could not be removed')
      return 0n
    }
    known.delete(id)
    removed?.(reason)
    log.info({ image: id, bytes: Number(bytes), reason }, 'image removed')
    return bytes
  }

  const free = async (wanted: bigint, images: readonly KnownImage[], signal: AbortSignal): Promise<bigint> => {
    let freed = 0n
    for (const image of images) {
      if (freed >= wanted) break
      freed += await remove(image, 'space', signal)
    }
    return freed
  }

  const disk = async (signal: AbortSignal): Promise<{ capacity: bigint; available: bigint }> => {
    const {
      imageFilesystems: [filesystem],
    } = await imageService.imageFsInfo({}, { signal })
    const path = filesystem?.fsId?.mountpoint
    if (!path) throw new Error('the runtime does not say where its images are (ImageFsInfo has no mountpoint)')
    const found = await diskOf(path)
    if (found.capacity > 0n) return found
    const message = 'invalid capacity 0 on image filesystem'
    events.recordNode({ type: 'Warning', reason: 'InvalidDiskCapacity', message })
    throw new Error(message)
  }

  const collect = async (signal: AbortSignal): Promise<void> => {
    const seen = await look(signal)
    const off = high >= 100 && maxAgeMs === 0
    if (off) return
    const nowMs = clock.now()
    const able = removable(seen, nowMs, minAgeMs)
    const old = expired(able, nowMs, maxAgeMs, startedMs)
    for (const image of old) await remove(image, 'age', signal)
    const wanted = bytesToFree(await disk(signal), high, low)
    if (wanted <= 0n) return
    log.info({ bytes: Number(wanted) }, 'the disk of images is full above its high threshold')
    const freed = await free(
      wanted,
      able.filter((image) => !old.includes(image)),
      signal,
    )
    if (freed >= wanted) return
    const message = `Failed to garbage collect required amount of images. Attempted to free ${wanted} bytes, but only found ${freed} bytes eligible to free.`
    events.recordNode({ type: 'Warning', reason: 'FreeDiskSpaceFailed', message })
    throw new Error(message)
  }

  const period = startPeriod({
    ms: periodMs,
    jitter: 0,
    clock,
    onError: (error) => log.warn({ err: error }, 'collecting images'),
    async run(signal) {
      try {
        await collect(signal)
        failures = 0
      } catch (error) {
        signal.throwIfAborted()
        const message = (error as Error).message
        // Once may be chance: the runtime may not have been asked for sizes before.
        if (++failures > 1) events.recordNode({ type: 'Warning', reason: 'ImageGCFailed', message })
        log.warn({ err: error }, 'collecting images')
      }
    },
  })

  return {
    start: period.now,
    collect,
    async removeUnused(signal) {
      const images = removable(await look(signal), clock.now(), 0)
      return free(
        images.reduce((sum, { bytes }) => sum + bytes, 1n),
        images,
        signal,
      )
    },
    close: period.close,
  }
}

async function readCapacity(path: string): Promise<{ capacity: bigint; available: bigint }> {
  const { capacityBytes, availableBytes } = await readDisk(path)
  return { capacity: capacityBytes, available: availableBytes }
}
