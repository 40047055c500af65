// Unpacks one layer: runs in a worker, so its file calls are synchronous.
import { createReadStream, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { endOf, hashLike } from '../digest.ts'
import { decompressor } from './compression.ts'
import { createEntryWriter } from './entry-writer.ts'
import type { Unpacked } from './entry-writer.ts'
import { createLayerTree } from './layer-tree.ts'
import { createMeter, defaultLimits } from './limits.ts'
import type { LayerLimits } from './limits.ts'
import { createTarReader } from './tar/reader.ts'

/** What a worker is asked to do; plain data. */
export interface UnpackTask {
  /** The compressed blob. */
  blob: string
  /** An empty folder. */
  folder: string
  /** Digest of the tar that must come out. */
  diffId: string
  limits?: LayerLimits | undefined
}

/** Bytes that are read of the blob at once: reading ahead costs memory, many small reads cost time. */
const readSize = 256 * 1024

/**
 * @param lowersOf answers the folders of the layers below, topmost first; may take its time, and is asked once at most
 * @param onBytes told of every piece of the tar
 * @throws Error naming the entry that can't be unpacked, or both digests
 */
export async function unpackLayer(
  { blob, folder, diffId, limits = defaultLimits }: UnpackTask,
  lowersOf: () => readonly string[],
  onBytes: () => void = () => undefined,
): Promise<Unpacked> {
  let lowers: readonly string[] | undefined
  const hash = hashLike(diffId)
  const meter = createMeter(limits, statSync(blob).size)
  const tree = createLayerTree(folder, () => (lowers ??= lowersOf()))
  using writer = createEntryWriter(tree, meter)
  const reader = createTarReader(writer)
  const file = createReadStream(blob, { highWaterMark: readSize })
  await pipeline(file, await decompressor(blob), async (tar: AsyncIterable<Buffer>) => {
    for await (const chunk of tar) {
      meter.tarBytes(chunk.length)
      hash.update(chunk)
      reader.push(chunk)
      onBytes()
    }
  })
  reader.finish()
  const got = endOf(hash, diffId)
  if (got !== diffId) throw new Error(`layer is corrupt: it unpacks to ${got}, its image says ${diffId}`)
  return writer.finish()
}
