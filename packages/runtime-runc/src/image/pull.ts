// Brings an image's content here, from a registry or a layout, and unpacks it.
import { CriError } from '@nodelet/cri-api'
import { sha256 } from '../content.ts'
import type { ContentStore } from '../content.ts'
import { chainIds } from '../snapshot/layers.ts'
import type { Layers } from '../snapshot/layers.ts'
import type { ImageConfig } from '../spec/facts.ts'
import { parseConfigFile, parseManifest } from './manifest.ts'
import type { Descriptor, Manifest } from './manifest.ts'
import type { ImageRecord } from './store.ts'

/** Where an image's content comes from. */
export interface Source {
  /** The manifest of a descriptor, checked against its digest. */
  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
}

export interface Progress {
  digest: string
  /** Bytes. */
  done: number
  total: number
}

export interface FetchContext {
  content: ContentStore
  layers: Layers
  maxParallelLayers: number
  signal: AbortSignal
  onProgress: (progress: Progress) => void
}

/** An image without its names. */
export type FetchedImage = Omit<ImageRecord, 'repoTags' | 'repoDigests' | 'pinned' | 'createdAt'>

/** Indexes within indexes. */
const deepestIndex = 3

/**
 * Fetches everything that is missing and unpacks it, lower layers first while upper ones still come.
 * @param root what the name stood for: a manifest or an index
 */
export async function fetchImage(
  context: FetchContext,
  source: Source,
  root: { content: Buffer; digest: string },
  what: string,
): Promise<FetchedImage> {
  const { content, layers, signal } = context
  const { manifest, bytes } = await manifestFor(source, root.content, what, signal)
  const ending = new AbortController()
  const fetching: FetchContext = { ...context, signal: AbortSignal.any([signal, ending.signal]) }
  const config = await (async () => {
    await fetchBlob(fetching, source, manifest.config)
    return parseConfigFile(await content.read(manifest.config.digest), `configuration of ${what}`)
  })()
  const diffIds = config.rootfs.diff_ids
  if (diffIds.length !== manifest.layers.length) {
    throw new CriError(
      'UNKNOWN',
      `${what}: its configuration names ${diffIds.length} layers, its manifest ${manifest.layers.length}`,
    )
  }
  const chain = chainIds(diffIds)
  const fetched = inParallel(context.maxParallelLayers, manifest.layers, async (layer, index) => {
    if (!layers.has(chain[index] ?? '')) await fetchBlob(fetching, source, layer)
  })
  try {
    for (const [index, layer] of manifest.layers.entries()) {
      await fetched[index]
      signal.throwIfAborted()
      await layers.unpack(chain.slice(0, index + 1), diffIds[index] ?? '', content.pathOf(layer.digest))
    }
  } catch (error) {
    ending.abort(error)
    await Promise.allSettled(fetched)
    throw error
  }
  const manifestDigest = sha256(bytes)
  await content.write({ digest: manifestDigest, size: bytes.length }, oneChunk(bytes))
  const all = [manifest.config, ...manifest.layers]
  return {
    id: manifest.config.digest,
    size: all.reduce((sum, { size }) => sum + size, bytes.length),
    config: imageConfig(config.config ?? {}),
    chain,
    blobs: [manifestDigest, ...all.map(({ digest }) => digest)],
  }
}

async function manifestFor(
  source: Source,
  content: Buffer,
  what: string,
  signal: AbortSignal,
): Promise<{ manifest: Manifest; bytes: Buffer }> {
  let bytes = content
  for (let depth = 0; depth <= deepestIndex; depth += 1) {
    const parsed = parseManifest(bytes, `manifest of ${what}`)
    if ('manifest' in parsed) return { manifest: parsed.manifest, bytes }
    bytes = await source.manifest(parsed.next, signal)
  }
  throw new CriError('UNKNOWN', `${what}: more than ${deepestIndex} indexes within each other`)
}

async function fetchBlob(context: FetchContext, source: Source, blob: Descriptor): Promise<void> {
  const { content, signal, onProgress } = context
  const { digest, size: total } = blob
  const tell = (done: number): void => onProgress({ digest, done, total })
  if (await content.has(digest)) tell(total)
  else await content.write(blob, await source.blob(blob, signal), tell)
}

/** Starts all work, at most `limit` at once. Each result is awaited by the caller. */
function inParallel<T>(
  limit: number,
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void>[] {
  const lanes: Promise<unknown>[] = Array.from({ length: limit }, async () => undefined)
  return items.map((item, index) => {
    const done = (lanes[index % limit] ?? Promise.resolve()).then(async () => work(item, index))
    lanes[index % limit] = done.catch(() => undefined)
    done.catch(() => undefined) // told when it is awaited
    return done
  })
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes
}

type RawConfig = { [K in keyof ImageConfig]?: ImageConfig[K] | null | undefined } & {
  Labels?: Record<string, string> | null | undefined
}

/** Without what the file leaves out. */
const imageConfig = (config: RawConfig): ImageConfig =>
  Object.fromEntries(
    Object.entries(config).filter(([, value]) => value !== undefined && value !== null && value !== ''),
  )
