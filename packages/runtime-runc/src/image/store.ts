// What is known of images, on disk: one file each.
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { crashPoint } from '../crash-points.ts'
import { digestPattern, hexOf } from '../digest.ts'
import { syncFolder, writeJson } from '../files.ts'
import type { ImageConfig } from '../spec/facts.ts'
import { nameOf, parseReference, taggedName } from './reference.ts'

/** One image. */
export interface ImageRecord {
  /** The digest of its configuration. */
  id: string
  /** Canonical names with tags. */
  repoTags: string[]
  /** Canonical names with the digest that the tag stood for. */
  repoDigests: string[]
  /** Bytes of its blobs, compressed. */
  size: number
  config: ImageConfig
  /** Chain IDs of its layers, lowest first. */
  chain: string[]
  /** Digests of its blobs: manifest, configuration, layers. */
  blobs: string[]
  /** Never removed by garbage collection. */
  pinned: boolean
  /** Milliseconds since the epoch. */
  createdAt: number
  /** Grows with each record that is written: of two images with one name on disk the later has it. */
  turn?: number | undefined
}

export interface ImageStore {
  list(): ImageRecord[]
  /** By ID, with or without its algorithm and cut short; by name, tag or digest. */
  find(referenceOrId: string): ImageRecord | undefined
  /** Adds or replaces; names that it takes are taken from other images. */
  put(record: ImageRecord): Promise<void>
  remove(id: string): Promise<void>
}

/** What every version wrote; a disk may have lost or changed any of it. */
const stored = z.looseObject({
  id: z.string().regex(digestPattern),
  repoTags: z.array(z.string()),
  repoDigests: z.array(z.string()),
  size: z.number(),
  config: z.looseObject({}),
  chain: z.array(z.string()),
  blobs: z.array(z.string()),
  pinned: z.boolean(),
  createdAt: z.number(),
  turn: z.number().optional(),
})

/** A shorter ID is more likely a name. */
const idPattern = /^(?:(?:sha256|sha384|sha512):)?([a-f0-9]{3,128})$/

/** @param onProblem told of a record that can't be read; its image is as good as not there */
export async function openImageStore(root: string, onProblem: (error: Error) => void): Promise<ImageStore> {
  const folder = join(root, 'images')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const images = new Map<string, ImageRecord>()
  const fileOf = (id: string): string => join(folder, `${hexOf(id)}.json`)
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.json')) {
      await rm(join(folder, name), { force: true }) // written half-way
      continue
    }
    try {
      const record = stored.parse(JSON.parse(await readFile(join(folder, name), 'utf8'))) as ImageRecord
      images.set(record.id, record)
    } catch (cause) {
      onProblem(new Error(`${join(folder, name)}: not an image record: pull the image again`, { cause }))
    }
  }
  const save = async (record: ImageRecord): Promise<void> => {
    await writeJson(fileOf(record.id), record)
    images.set(record.id, record)
  }
  /** Others without the names of one. */
  const robbedBy = ({ id, repoTags }: ImageRecord): ImageRecord[] =>
    [...images.values()].flatMap((other) => {
      const kept = other.repoTags.filter((tag) => !repoTags.includes(tag))
      return other.id === id || kept.length === other.repoTags.length ? [] : [{ ...other, repoTags: kept }]
    })
  const turnOf = ({ turn = 0 }: ImageRecord): number => turn
  // A crash may have come before those were written whose names another took.
  for (const { id } of [...images.values()].toSorted((a, b) => turnOf(b) - turnOf(a))) {
    const record = images.get(id)
    for (const robbed of record ? robbedBy(record) : []) images.set(robbed.id, robbed)
  }

  return {
    list: () => [...images.values()],
    find: (text) => findImage([...images.values()], text),
    put: async (record) => {
      const turn = Math.max(0, ...[...images.values()].map(turnOf)) + 1
      await save({ ...record, turn })
      const robbed = robbedBy(record)
      for (const other of robbed) images.set(other.id, other)
      crashPoint('image/names-taken')
      for (const other of robbed) await save(other)
    },
    remove: async (id) => {
      await rm(fileOf(id), { force: true })
      await syncFolder(folder) // before its content goes
      images.delete(id)
      crashPoint('image/forgotten')
    },
  }
}

export function findImage(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  return findByName(images, text) ?? findById(images, text)
}

function findById(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  const hex = idPattern.exec(text)?.[1]
  const found =
    hex === undefined
      ? []
      : images.filter(({ id }) => (text.includes(':') ? id.startsWith(text) : hexOf(id).startsWith(hex)))
  return found.length === 1 ? found[0] : undefined
}

function findByName(images: readonly ImageRecord[], text: string): ImageRecord | undefined {
  try {
    const reference = parseReference(text)
    if (reference.digest !== undefined) {
      const name = `${nameOf(reference)}@${reference.digest}`
      return images.find(({ repoDigests }) => repoDigests.includes(name))
    }
    return images.find(({ repoTags }) => repoTags.includes(taggedName(reference) ?? ''))
  } catch {
    return undefined // not a name of an image: so there is none of that name
  }
}
