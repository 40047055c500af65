// The images of one store: pull, import, find, remove, and root file systems made of them.
import { join } from 'node:path'
import { rm } from 'node:fs/promises'
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig, ImageService } from '@nodelet/cri-api'
import { lockFolder } from '../container/lock.ts'
import { openContent } from '../content.ts'
import { openLayers } from '../snapshot/layers.ts'
import { openRootFileSystems } from '../snapshot/overlay.ts'
import { openLayout } from './layout.ts'
import { fetchImage } from './pull.ts'
import type { FetchContext, Progress, Source } from './pull.ts'
import { nameOf, parseReference, printReference, taggedName } from './reference.ts'
import type { Reference } from './reference.ts'
import { openRepository } from './registry.ts'
import { createImageService } from './service.ts'
import { openImageStore } from './store.ts'
import type { ImageRecord } from './store.ts'

export interface ImagesOptions {
  /** Everything is kept below this folder, for instance `/var/lib/nodelet/images`. */
  root: string
  /** Whether a registry is spoken to without TLS; default: the loopback hosts. */
  plainHttp?: (host: string) => boolean
  /** Blobs of one image that come at once; default 3. */
  maxParallelLayers?: number
}

export interface PullOptions {
  auth?: AuthConfig | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((progress: Progress) => void) | undefined
}

/** Images on this machine. Failures are CriErrors. */
export interface Images extends AsyncDisposable {
  /** Fetches by tag or digest. Callers that pull the same name at the same time share the work. */
  pull(reference: string, options?: PullOptions): Promise<ImageRecord>
  /** Takes in all images of an OCI layout: a folder, or a tar of one. `reference` names the only image of a layout. */
  importArchive(
    path: string,
    options?: { reference?: string | undefined; signal?: AbortSignal },
  ): Promise<ImageRecord[]>
  /** By name, digest or ID; an ID may be cut short. */
  resolve(referenceOrId: string): ImageRecord | undefined
  list(): ImageRecord[]
  /** Removes an image with all its names. Fine when there is none. Layers that containers use stay until they are released. */
  remove(referenceOrId: string): Promise<void>
  /** Mounts a writable file system of an image for a container; safe to run again. Answers its path. */
  prepareRootfs(key: string, imageId: string): Promise<string>
  /** Unmounts it and removes what was written. Fine when there is none. */
  releaseRootfs(key: string): Promise<void>
  rootfsPath(key: string): string | undefined
  /** All layers together. */
  usage(): { bytes: number; inodes: number }
  /** Where the layers are. */
  readonly root: string
  /** The same as CRI calls. */
  readonly imageService: ImageService
}

/** @throws Error when another process has the folder */
export async function openImages({ root, plainHttp, maxParallelLayers = 3 }: ImagesOptions): Promise<Images> {
  await using opening = new AsyncDisposableStack()
  const content = await openContent(root)
  opening.use(await lockFolder(root))
  const scratch = join(root, 'scratch')
  await rm(scratch, { recursive: true, force: true })
  const layers = opening.use(await openLayers(root))
  const rootfs = await openRootFileSystems(root)
  const store = await openImageStore(root)
  const ending = new AbortController()
  const pulling = new Map<string, SharedPull>()
  let changes: Promise<unknown> = Promise.resolve()

  /** Records and collection of content change one after the other, and never while content comes that has no record yet. */
  const alone = async <T>(change: () => Promise<T>): Promise<T> => {
    const done = changes.then(change)
    changes = done.catch(() => undefined)
    return done
  }
  const busy = new Set<symbol>()

  const collect = async (): Promise<void> => {
    if (busy.size > 0) return
    await layers.keepOnly([...store.list(), ...rootfs.records()].map(({ chain }) => chain))
    const kept = new Set(store.list().flatMap(({ blobs }) => blobs))
    for (const digest of await content.list()) if (!kept.has(digest)) await content.remove(digest)
  }

  const record = async (
    found: Omit<ImageRecord, 'repoTags' | 'repoDigests' | 'pinned' | 'createdAt'>,
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
      pinned: present?.pinned ?? false,
      createdAt: present?.createdAt ?? Date.now(),
    }
    await store.put(image)
    return image
  }

  const fetchAs = async (
    source: Source,
    origin: { content: Buffer; digest: string },
    reference: Reference | undefined,
    options: Pick<FetchContext, 'signal' | 'onProgress'>,
  ): Promise<ImageRecord> => {
    const what = reference ? printReference(reference) : origin.digest
    const found = await fetchImage({ content, layers, maxParallelLayers, ...options }, source, origin, what)
    return alone(async () => record(found, reference, origin.digest))
  }

  /** Content that has no record yet is not collected while this runs. */
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    const mark = Symbol('fetching')
    busy.add(mark)
    try {
      return await work()
    } finally {
      busy.delete(mark)
      await alone(collect)
    }
  }

  const fetchReference = async (
    reference: Reference,
    shared: SharedPull,
    auth: AuthConfig | undefined,
  ): Promise<ImageRecord> =>
    guarded(async () => {
      await using repository = openRepository(reference, { auth, plainHttp })
      const signal = AbortSignal.any([shared.leaving.signal, ending.signal])
      const origin = await repository.resolve(signal)
      const onProgress = (progress: Progress): void => shared.listeners.forEach((tell) => tell(progress))
      try {
        return await fetchAs(repository, origin, reference, { signal, onProgress })
      } catch (error) {
        throw pullError(reference, error)
      }
    })

  const pull = async (text: string, { auth, signal, onProgress }: PullOptions = {}): Promise<ImageRecord> => {
    const reference = parseReference(text)
    signal?.throwIfAborted()
    // Others' credentials are not ours to use.
    const key = JSON.stringify([printReference(reference), auth ?? null])
    let shared = pulling.get(key)
    if (!shared) {
      const made: SharedPull = { waiters: 0, listeners: new Set(), leaving: new AbortController() }
      made.work = fetchReference(reference, made, auth).finally(() => pulling.delete(key))
      made.work.catch(() => undefined) // told to those who wait
      pulling.set(key, (shared = made))
    }
    return wait(shared, signal, onProgress)
  }

  const releaseRootfs = async (key: string): Promise<void> => {
    if (rootfs.path(key) === undefined) return
    await rootfs.release(key)
    await alone(collect)
  }

  const images: Omit<Images, 'imageService'> = {
    root,
    pull,
    importArchive: async (path, { reference, signal } = {}) =>
      guarded(async () => {
        await using layout = await openLayout(path, scratch)
        if (reference !== undefined && layout.images.length > 1) {
          throw new CriError(
            'INVALID_ARGUMENT',
            `${path} has ${layout.images.length} images: one name can't stand for all`,
          )
        }
        const limit = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal
        const taken: ImageRecord[] = []
        for (const { descriptor, content: bytes, name } of layout.images) {
          const called = reference ?? name
          const options = { signal: limit, onProgress: (): void => {} }
          const origin = { content: bytes, digest: descriptor.digest }
          taken.push(
            await fetchAs(layout.source, origin, called === undefined ? undefined : parseReference(called), options),
          )
        }
        return taken
      }),
    resolve: (text) => store.find(text),
    list: () => store.list(),
    remove: async (text) =>
      alone(async () => {
        const image = store.find(text)
        if (!image) return
        await store.remove(image.id)
        await collect()
      }),
    prepareRootfs: async (key, imageId) =>
      alone(async () => {
        const image = store.list().find(({ id }) => id === imageId)
        const chain = image?.chain ?? rootfs.records().find((one) => one.key === key)?.chain
        if (!chain) throw new CriError('NOT_FOUND', `image ${imageId} is not here: pull it first`)
        return rootfs.prepare(key, imageId, chain, layers.folders(chain))
      }),
    releaseRootfs,
    rootfsPath: (key) => rootfs.path(key),
    usage: () => {
      const all = [...new Set([...store.list(), ...rootfs.records()].flatMap(({ chain }) => chain))]
      const { size, inodes } = layers.usage(all)
      return { bytes: size, inodes }
    },
    [Symbol.asyncDispose]: async () => {
      ending.abort(new CriError('CANCELLED', 'the image store is closing'))
      await Promise.allSettled([...pulling.values()].map(async ({ work }) => work))
      await changes
      await opened.disposeAsync()
    },
  }
  const opened = opening.move()
  return { ...images, imageService: createImageService(images) }
}

interface SharedPull {
  waiters: number
  listeners: Set<(progress: Progress) => void>
  /** Aborted when nobody waits any more. */
  leaving: AbortController
  work?: Promise<ImageRecord>
}

async function wait(
  shared: SharedPull,
  signal: AbortSignal | undefined,
  onProgress: ((progress: Progress) => void) | undefined,
): Promise<ImageRecord> {
  const left = Promise.withResolvers<never>()
  const leave = (): void => left.reject(signal?.reason as Error)
  shared.waiters += 1
  if (onProgress) shared.listeners.add(onProgress)
  signal?.addEventListener('abort', leave, { once: true })
  try {
    return await Promise.race([shared.work ?? left.promise, left.promise])
  } finally {
    signal?.removeEventListener('abort', leave)
    if (onProgress) shared.listeners.delete(onProgress)
    shared.waiters -= 1
    if (shared.waiters === 0) shared.leaving.abort(new CriError('CANCELLED', 'nobody waits for this pull any more'))
  }
}

/** As containerd's users know it. */
function pullError(reference: Reference, error: unknown): CriError {
  const { message } = error as Error
  const code = error instanceof CriError ? error.code : 'UNKNOWN'
  return new CriError(code, `failed to pull and unpack image "${printReference(reference)}": ${message}`, {
    cause: error,
  })
}
