// The images of one store: pull, import, find, remove, and root file systems made of them.
import { join } from 'node:path'
import { rm } from 'node:fs/promises'
import { CriError } from '@nodelet/cri-api'
import { lockFolder } from '@nodelet/linux'
import { openContent } from '../content.ts'
import { hexOf } from '../digest.ts'
import { isFull } from '../files.ts'
import { createDiskUsageMeter } from '../snapshot/disk-usage.ts'
import { openLayers } from '../snapshot/layers.ts'
import { openRootFileSystems } from '../snapshot/overlay.ts'
import type { RootfsView } from '../snapshot/overlay.ts'
import { exportImages } from './export.ts'
import type { Images, ImagesOptions } from './images-api.ts'
import { openLayout } from './layout.ts'
import { createDownloads } from './downloads.ts'
import { matchesPinned } from './pinned.ts'
import { readPlatform } from './platform.ts'
import { fetchImage } from './pull.ts'
import type { FetchContext, FetchedImage, Progress, Source } from './pull.ts'
import { createPuller } from './puller.ts'
import { nameOf, parseReference, printReference, taggedName } from './reference.ts'
import type { Reference } from './reference.ts'
import { createImageService } from './service.ts'
import { createSharedPulls } from './shared-pulls.ts'
import { openImageStore } from './store.ts'
import type { ImageRecord } from './store.ts'
import { crashPoint } from '../crash-points.ts'

/** What work needs that runs. */
interface Hold {
  blobs: Set<string>
  chain: Set<string>
  /** When all of it is at its end. */
  over: Promise<unknown>
}

/** What is left of pulls that nobody tries again goes though nothing else happens here. */
const sweepMs = 3_600_000

/** @throws Error when another process has the folder */
export async function openImages(options: ImagesOptions): Promise<Images> {
  const {
    root,
    maxParallelLayers = 3,
    maxParallelDownloads = 12,
    unpack,
    pinnedImages = [],
    onProblem = () => undefined,
  } = options
  await using opening = new AsyncDisposableStack()
  opening.use(await lockFolder(root)) // first: opening removes what a crash left half-made
  const content = await openContent(root)
  const scratch = join(root, 'scratch')
  await rm(scratch, { recursive: true, force: true })
  const layers = opening.use(await openLayers(root, { onProblem, ...unpack }))
  const rootfs = await openRootFileSystems(root)
  const store = await openImageStore(root, onProblem)
  for (const { id, chain } of store.list()) {
    if (chain.every((chainId) => layers.has(chainId))) continue
    onProblem(new Error(`image ${id} has lost layers and is forgotten: pull it again`))
    await store.remove(id)
  }
  const meter = createDiskUsageMeter(onProblem)
  const puller = createPuller(options)
  const downloads = createDownloads(content, maxParallelDownloads)
  const machine = await readPlatform()
  const ending = new AbortController()
  const pulls = createSharedPulls<ImageRecord>()
  /** Work that needs content which no record has yet. */
  const holds = new Set<Hold>()
  /** The disk was full: what came in part is not worth its place. */
  let isCrowded = false
  let changes: Promise<unknown> = Promise.resolve()

  /** Records and collection of content change one after the other. */
  const alone = async <T>(change: () => Promise<T>): Promise<T> => {
    const done = changes.then(change)
    changes = Promise.allSettled([done]) // the next comes after it, however it ended: its own caller is told
    return done
  }

  /** Removes what no image, no container and no work that runs needs. */
  const collect = async (): Promise<void> => {
    if (ending.signal.aborted) return
    try {
      const chains = [...store.list(), ...rootfs.records()].map(({ chain }) => chain)
      await layers.keepOnly([...chains, ...[...holds].map(({ chain }) => [...chain])])
      const kept = new Set([...store.list(), ...holds].flatMap(({ blobs }) => [...blobs]))
      for (const digest of await content.list()) {
        if (kept.has(digest)) continue
        await content.remove(digest)
        crashPoint('image/blob-removed')
      }
      await content.sweep(isCrowded ? 0 : undefined)
      isCrowded = false
      crashPoint('image/collected')
    } catch (cause) {
      // The next collection tries again; what led to this one is done.
      onProblem(new Error(`removing unused images below ${root}: ${(cause as Error).message}`, { cause }))
    }
  }
  void alone(collect) // finishes what a crash interrupted
  const sweeping = setInterval(() => void alone(collect), sweepMs).unref()

  /** Work that says what it needs before it looks whether that is here; a collection that runs is waited for. */
  const guarded = async <T>(work: (keep: FetchContext['keep']) => Promise<T>): Promise<T> => {
    ending.signal.throwIfAborted()
    const over = Promise.withResolvers<undefined>()
    const hold: Hold = { blobs: new Set(), chain: new Set(), over: over.promise }
    holds.add(hold)
    try {
      return await work(async (blobs, chain = []) =>
        alone(async () => {
          for (const digest of blobs) hold.blobs.add(digest)
          for (const chainId of chain) hold.chain.add(chainId)
        }),
      )
    } catch (error) {
      if (isFull(error)) isCrowded = true
      throw error
    } finally {
      holds.delete(hold)
      await alone(collect)
      over.resolve(undefined)
    }
  }

  const record = async (
    found: FetchedImage,
    reference: Reference | undefined,
    rootDigest: string,
  ): Promise<ImageRecord> => {
    const present = store.list().find(({ id }) => id === found.id)
    const tag = reference && taggedName(reference)
    const named = reference && `${nameOf(reference)}@${rootDigest}`
    const image: ImageRecord = {
      ...found,
      repoTags: [...new Set([...(present?.repoTags ?? []), ...(tag === undefined ? [] : [tag])])],
      repoDigests: [...new Set([...(present?.repoDigests ?? []), ...(named === undefined ? [] : [named])])],
      blobs: [...new Set([...(present?.blobs ?? []), ...found.blobs])],
      pinned: present?.pinned ?? false,
      createdAt: present?.createdAt ?? Date.now(),
    }
    await store.put(image)
    crashPoint('image/recorded')
    return image
  }

  const fetchAs = async (
    source: Source,
    origin: { content: Buffer; digest: string },
    reference: Reference | undefined,
    limits: Pick<FetchContext, 'signal' | 'onProgress' | 'keep'>,
  ): Promise<ImageRecord> => {
    const what = reference ? printReference(reference) : origin.digest
    const context = { content, downloads, layers, machine, maxParallelLayers, onProblem, ...limits }
    const found = await fetchImage(context, source, origin, what)
    return alone(async () => record(found, reference, origin.digest))
  }

  // Not in line with the others: from its first step on the layers are in use, which collections see.
  const prepare = async (key: string, imageId: string, isView: boolean, shown: RootfsView = {}): Promise<string> => {
    const used = rootfs.records().find((one) => one.key === key)
    const chain = used?.chain ?? store.list().find(({ id }) => id === imageId)?.chain
    if (!chain) throw new CriError('NOT_FOUND', `image ${imageId} is not here: pull it first`)
    return rootfs.prepare({ key, imageId, chain, folders: layers.folders(chain), isView, ...shown })
  }

  const release = async (key: string): Promise<void> => {
    const imageId = rootfs.imageId(key)
    if (imageId === undefined) return
    await rootfs.release(key)
    meter.forget(key)
    // The layers are an image's, unless that was removed before.
    if (!store.list().some(({ id }) => id === imageId)) await alone(collect)
  }

  // Not in the record: another configuration pins others.
  const withPin = (image: ImageRecord): ImageRecord => ({
    ...image,
    pinned: image.pinned || matchesPinned(pinnedImages, [...image.repoTags, ...image.repoDigests]),
  })

  const images: Omit<Images, 'imageService'> = {
    root,
    pull: async (text, { auth, signal, onProgress } = {}) => {
      const reference = parseReference(text)
      // Others' credentials are not ours to use.
      const key = JSON.stringify([printReference(reference), auth ?? null])
      const fetch = async (leaving: AbortSignal, tell: (progress: Progress) => void): Promise<ImageRecord> =>
        guarded(async (keep) =>
          puller.pull(reference, auth, AbortSignal.any([leaving, ending.signal]), async (source, origin, pulling) =>
            fetchAs(source, origin, reference, { signal: pulling, onProgress: tell, keep }),
          ),
        )
      return pulls.join(key, fetch, signal, onProgress)
    },
    importArchive: async (path, { reference, signal, onProgress = () => undefined } = {}) =>
      guarded(async (keep) => {
        const limits = {
          keep,
          signal: signal ? AbortSignal.any([signal, ending.signal]) : ending.signal,
          onProgress,
        }
        await using layout = await openLayout(path, scratch, limits.signal)
        if (reference !== undefined && new Set(layout.images.map(({ descriptor }) => descriptor.digest)).size > 1) {
          throw new CriError(
            'INVALID_ARGUMENT',
            `${path} has ${layout.images.length} images: one name can't stand for all`,
          )
        }
        const taken: ImageRecord[] = []
        for (const { descriptor, content: bytes, name } of layout.images) {
          const called = reference ?? name
          const origin = { content: bytes, digest: descriptor.digest }
          taken.push(
            await fetchAs(layout.source, origin, called === undefined ? undefined : parseReference(called), limits),
          )
        }
        // One with several names comes once per name; its last record has them all.
        return [...new Map(taken.map((image) => [image.id, image])).values()]
      }),
    exportArchive: async (references, path, { format = 'oci', signal } = {}) =>
      guarded(async (keep) => {
        const wanted = references.map((reference) => {
          const image = store.find(reference)
          if (!image) throw new CriError('NOT_FOUND', `image ${JSON.stringify(reference)} is not here: pull it first`)
          return { image, reference }
        })
        await keep(wanted.flatMap(({ image }) => image.blobs))
        const limit = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal
        await exportImages({ content, wanted, path, format, scratch, signal: limit })
      }),
    resolve: (text) => {
      const image = store.find(text)
      return image && withPin(image)
    },
    list: () => store.list().map(withPin),
    used: () => new Set(rootfs.records().map(({ imageId }) => imageId)),
    remove: async (text) =>
      alone(async () => {
        const image = store.find(text)
        if (!image) return
        await store.remove(image.id)
        await collect()
      }),
    prepareRootfs: async (key, imageId, shown) => prepare(key, imageId, false, shown),
    prepareView: async (owner, imageId, shown) => prepare(`${viewKey(owner)}${hexOf(imageId)}`, imageId, true, shown),
    releaseViews: async (owner) => {
      const keys = rootfs.records().flatMap(({ key }) => (key.startsWith(viewKey(owner)) ? [key] : []))
      for (const key of keys) await release(key)
    },
    releaseRootfs: async (key) => release(key),
    rootfsPath: (key) => rootfs.path(key),
    usage: async () => {
      const all = [...new Set([...store.list(), ...rootfs.records()].flatMap(({ chain }) => chain))]
      const { size, inodes } = layers.usage(all)
      const written = [...(await meter.of(rootfs.upperPaths())).values()]
      return {
        bytes: size + written.reduce((sum, { bytes }) => sum + bytes, 0),
        inodes: inodes + written.reduce((sum, one) => sum + one.inodes, 0),
      }
    },
    rootfsUsage: async (keys) => {
      const paths = rootfs.upperPaths()
      return meter.of(new Map(keys.flatMap((key) => (paths.has(key) ? [[key, paths.get(key) ?? ''] as const] : []))))
    },
    [Symbol.asyncDispose]: async () => {
      clearInterval(sweeping)
      ending.abort(new CriError('CANCELLED', 'the image store is closing'))
      await layers[Symbol.asyncDispose]() // a layer half-way is not waited for
      await Promise.all([...holds].map(async ({ over }) => over))
      await changes
      await opened.disposeAsync()
    },
  }
  const opened = opening.move()
  return { ...images, imageService: createImageService(images, async (id) => content.read(id)) }
}

const viewKey = (owner: string): string => `view-${owner}-`
