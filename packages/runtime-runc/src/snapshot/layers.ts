// Unpacked layers, by chain ID: the digest of a layer and all below it.
import { mkdirSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { z } from 'zod'
import { sha256 } from '../digest.ts'
import { isFull, syncFolder, writeJson } from '../files.ts'
import { diskUsageOf } from './disk-usage.ts'
import { createGroupSync } from './group-sync.ts'
import { createUnpacker } from './unpacker.ts'
import type { UnpackerOptions } from './unpacker.ts'
import { crashPoint } from '../crash-points.ts'

/** The chain IDs of layers, lowest first. @see OCI image-spec, layer ChainID */
export function chainIds(diffIds: readonly string[]): string[] {
  let below = ''
  return diffIds.map((diffId) => {
    below = below === '' ? diffId : sha256(Buffer.from(`${below} ${diffId}`))
    return below
  })
}

interface LayerRecord {
  chainId: string
  size: number
  inodes: number
  /** Whether nothing below it is seen. */
  hidesAll: boolean
}

export interface Layers extends AsyncDisposable {
  has(chainId: string): boolean
  /**
   * Unpacks a layer on top of those below it, which are here or asked for before; those may still be unpacking.
   * Callers that ask for the same one share the work.
   */
  unpack(chain: readonly string[], diffId: string, blob: string): Promise<void>
  /** Folders of a chain, topmost first, as overlay wants them. */
  folders(chain: readonly string[]): string[]
  usage(chain: readonly string[]): { size: number; inodes: number }
  /** Removes every layer that is in none of the chains. */
  keepOnly(chains: Iterable<readonly string[]>): Promise<void>
}

export interface LayersOptions extends UnpackerOptions {
  /** Told of entries that were passed over. Default: nobody is. */
  onProblem?: ((error: Error) => void) | undefined
}

/** Opens the layers; what a crash left half-unpacked is removed. */
export async function openLayers(root: string, options: LayersOptions = {}): Promise<Layers> {
  const { onProblem = () => undefined, ...unpacking } = options
  // Names are short numbers: a mount has one page for the paths of all layers.
  const base = join(root, 'l')
  // Layers have folders that everybody may write to: nobody but root comes near them.
  await mkdir(base, { recursive: true, mode: 0o700 })
  await chmod(base, 0o700)
  const known = new Map<string, LayerRecord & { name: string }>()
  let last = 0
  for (const name of await readdir(base)) {
    const record = await readRecord(join(base, name, 'layer.json'))
    if (record) known.set(record.chainId, { ...record, name })
    else await rm(join(base, name), { recursive: true, force: true })
    last = Math.max(last, Number.parseInt(name, 36) || 0)
  }
  const unpacker = createUnpacker(unpacking)
  const sync = createGroupSync(base)
  const running = new Map<string, Promise<void>>()
  const folderOf = (chainId: string): string => {
    const layer = known.get(chainId)
    if (!layer) throw new CriError('NOT_FOUND', `layer ${chainId} is not unpacked: pull the image again`)
    return join(base, layer.name, 'fs')
  }
  const folders = (chain: readonly string[]): string[] => {
    const lowest = chain.findLastIndex((chainId) => known.get(chainId)?.hidesAll)
    return chain.slice(Math.max(0, lowest)).map(folderOf).toReversed()
  }

  /** Of the layers below. Those that are being unpacked are waited for. */
  const lowersOf = async (chain: readonly string[]): Promise<string[]> => {
    for (const chainId of chain) await running.get(chainId)
    return folders(chain)
  }

  const unpack = async (chain: readonly string[], diffId: string, blob: string): Promise<void> => {
    const chainId = chain.at(-1) ?? ''
    const lowers = lowersOf(chain.slice(0, -1))
    lowers.catch(() => undefined) // told when the layer needs them
    const name = (++last).toString(36)
    const temporary = join(base, `${name}.tmp`)
    try {
      const folder = join(temporary, 'fs')
      // At once: layers are unpacked in the order in which they are asked for.
      mkdirSync(temporary, { mode: 0o700 })
      mkdirSync(folder)
      const { skipped, hidesAll } = await unpacker.unpack({ blob, folder, diffId }, lowers)
      if (skipped.length > 0) onProblem(new Error(`layer ${diffId}: passed over ${skipped.join(', ')}`))
      crashPoint('image/layer-unpacked')
      await sync() // its files reach the disk before its record: after a power cut a layer is whole or not there
      const { bytes: size, inodes } = await diskUsageOf(folder) // some disks know it only now
      const record = { chainId, size, inodes, hidesAll }
      await writeJson(join(temporary, 'layer.json'), record)
      crashPoint('image/layer-recorded')
      await rename(temporary, join(base, name))
      crashPoint('image/layer-stored')
      await syncFolder(base)
      known.set(chainId, { ...record, name })
    } catch (cause) {
      await rm(temporary, { recursive: true, force: true })
      const remedy = isFull(cause) ? ': free space on the disk of the images' : ''
      throw new CriError('UNKNOWN', `failed to unpack layer ${diffId}: ${(cause as Error).message}${remedy}`, { cause })
    }
  }

  return {
    has: (chainId) => known.has(chainId),
    unpack: async (chain, diffId, blob) => {
      const chainId = chain.at(-1) ?? ''
      if (known.has(chainId)) return
      const work = running.get(chainId) ?? unpack(chain, diffId, blob).finally(() => running.delete(chainId))
      running.set(chainId, work)
      await work
    },
    folders,
    usage: (chain) => {
      const records = chain.flatMap((chainId) => known.get(chainId) ?? [])
      return {
        size: records.reduce((sum, { size }) => sum + size, 0),
        inodes: records.reduce((sum, { inodes }) => sum + inodes, 0),
      }
    },
    keepOnly: async (chains) => {
      const kept = new Set([...chains].flat())
      for (const [chainId, { name }] of known) {
        if (kept.has(chainId) || running.has(chainId)) continue
        known.delete(chainId)
        // Without its record the folder is nobody's: a crash from here on is finished at the next opening.
        await rm(join(base, name, 'layer.json'), { force: true })
        crashPoint('image/layer-forgotten')
        await rm(join(base, name), { recursive: true, force: true })
        crashPoint('image/layer-removed')
      }
    },
    [Symbol.asyncDispose]: async () => unpacker[Symbol.asyncDispose](),
  }
}

const stored = z.object({ chainId: z.string(), size: z.number(), inodes: z.number(), hidesAll: z.boolean() })

async function readRecord(path: string): Promise<LayerRecord | undefined> {
  try {
    return stored.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch {
    return undefined // unpacking or removal was interrupted, or the disk lost it: its image is pulled again
  }
}
