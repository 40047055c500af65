// Brings an image's content here, from a registry or a layout, and unpacks it.
import { CriError } from '@nodelet/cri-api'
import type { ContentStore } from '../content.ts'
import { sha256 } from '../digest.ts'
import { chainIds } from '../snapshot/layers.ts'
import type { Layers } from '../snapshot/layers.ts'
import type { ImageConfig } from '../spec/facts.ts'
import type { Downloads, Progress, Source } from './downloads.ts'
import { parseConfigFile } from './manifest.ts'
import type { ConfigFile } from './manifest.ts'
import { normalise, printPlatform, rankOf } from './platform.ts'
import type { Platform } from './platform.ts'
import { selectManifest } from './select.ts'
import { createSlots } from './slots.ts'
import type { ImageRecord } from './store.ts'

export type { Progress, Source } from './downloads.ts'

export interface FetchContext {
  content: ContentStore
  downloads: Downloads
  layers: Layers
  machine: Platform
  maxParallelLayers: number
  /** What collections are to leave here from now on, until the work is over. */
  keep: (blobs: readonly string[], chain?: readonly string[]) => Promise<void>
  signal: AbortSignal
  onProgress: (progress: Progress) => void
  onProblem: (error: Error) => void
}

/** An image without its names. */
export type FetchedImage = Omit<ImageRecord, 'repoTags' | 'repoDigests' | 'pinned' | 'createdAt'>

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
  const { content, downloads, layers, machine, keep, signal, onProgress } = context
  const readConfig = async (descriptor: Parameters<Source['blob']>[0]): Promise<Buffer> => {
    await keep([descriptor.digest])
    await downloads.fetch(source, descriptor, { signal, onProgress })
    return content.read(descriptor.digest)
  }
  const { manifest, bytes } = await selectManifest(root.content, {
    what,
    machine,
    manifest: async (descriptor) => source.manifest(descriptor, signal),
    config: readConfig,
  })
  const config = parseConfigFile(await readConfig(manifest.config), `configuration of ${what}`)
  warnOfOther(config, what, context)
  const diffIds = config.rootfs.diff_ids
  if (diffIds.length !== manifest.layers.length) {
    throw new CriError(
      'UNKNOWN',
      `${what}: its configuration names ${diffIds.length} layers, its manifest ${manifest.layers.length}`,
    )
  }
  const chain = chainIds(diffIds)
  const manifestDigest = sha256(bytes)
  const all = [manifest.config, ...manifest.layers]
  const blobs = [manifestDigest, ...all.map(({ digest }) => digest)]
  await keep(blobs, chain)
  const ending = new AbortController()
  const limits = { signal: AbortSignal.any([signal, ending.signal]), onProgress }
  const slots = createSlots(context.maxParallelLayers)
  const fetched = manifest.layers.map(async (layer, index) =>
    slots.run(async () => {
      if (!layers.has(chain[index] ?? '')) await downloads.fetch(source, layer, limits)
    }, limits.signal),
  )
  void Promise.allSettled(fetched) // one that fails before its turn is told of when it is awaited
  const unpacking: Promise<void>[] = []
  try {
    for (const [index, layer] of manifest.layers.entries()) {
      await Promise.race([fetched[index], failureOf(unpacking)])
      signal.throwIfAborted()
      unpacking.push(layers.unpack(chain.slice(0, index + 1), diffIds[index] ?? '', content.pathOf(layer.digest)))
    }
    await Promise.all(unpacking)
  } catch (error) {
    ending.abort(error)
    await Promise.allSettled([...fetched, ...unpacking])
    throw error
  }
  await content.write({ digest: manifestDigest, size: bytes.length }, () => oneChunk(bytes))
  return {
    id: manifest.config.digest,
    size: all.reduce((sum, { size }) => sum + size, bytes.length),
    config: imageConfig(config.config ?? {}),
    chain,
    blobs,
  }
}

/** A lone manifest is taken whatever it says: who named it may know better. */
function warnOfOther({ os, architecture, variant }: ConfigFile, what: string, context: FetchContext): void {
  if (!os || !architecture) return
  const platform = { os, architecture, variant: variant ?? undefined }
  if (rankOf(platform, context.machine) !== undefined) return
  const own = printPlatform(normalise(context.machine))
  context.onProblem(new Error(`image ${what} is for ${printPlatform(platform)}, this machine is ${own}`))
}

/** Never ends well. */
const failureOf = async (works: readonly Promise<void>[]): Promise<never> =>
  new Promise((_, reject) => void Promise.all(works).catch(reject))

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
