// Images written to a tar: an OCI layout, or what `docker load` reads.
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, open, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CriError } from '@nodelet/cri-api'
import { pack } from 'tar-stream'
import type { ContentStore } from '../content.ts'
import { algorithmOf, endOf, hashLike, hexOf } from '../digest.ts'
import { syncFolder } from '../files.ts'
import { decompressor } from '../snapshot/compression.ts'
import { parseConfigFile, parseManifest } from './manifest.ts'
import type { Manifest } from './manifest.ts'
import { parseReference, taggedName } from './reference.ts'
import type { ImageRecord } from './store.ts'

export interface ExportOptions {
  /** Default `oci`. `docker` is what `docker load` reads, with its layers uncompressed. */
  format?: 'oci' | 'docker' | undefined
  signal?: AbortSignal | undefined
}

interface Wanted {
  image: ImageRecord
  /** What it was asked for as: a tag is exported alone, an ID or digest with all tags. */
  reference: string
}

interface Work {
  content: ContentStore
  wanted: readonly Wanted[]
  path: string
  format: 'oci' | 'docker'
  scratch: string
  signal: AbortSignal
}

interface Tar {
  text(name: string, content: string | Buffer): void
  file(name: string, path: string): Promise<void>
}

const writing = new Set<string>()

export async function exportImages(work: Work): Promise<void> {
  const { path, format, signal } = work
  // Of one name: what a killed process left is written over by the next.
  const half = `${path}.half`
  if (writing.has(half)) throw new CriError('FAILED_PRECONDITION', `${path} is being written: wait for that`)
  await using undo = new AsyncDisposableStack()
  undo.defer(() => void writing.delete(half))
  writing.add(half)
  undo.defer(async () => rm(half, { force: true }))
  const tar = pack()
  const tarred: Tar = {
    text: (name, content) => void tar.entry({ name, mode: 0o644, mtime: new Date(0) }, content),
    file: async (name, file) => {
      const { size } = await stat(file)
      const entry = tar.entry({ name, size, mode: 0o644, mtime: new Date(0) })
      await pipeline(createReadStream(file), entry, { signal })
    },
  }
  const fill = async (): Promise<void> => {
    try {
      await (format === 'oci' ? fillLayout(work, tarred) : fillDocker(work, tarred))
      tar.finalize()
    } catch (error) {
      tar.destroy(error as Error) // ends the writer, too
      throw error
    }
  }
  const [filled, written] = await Promise.allSettled([fill(), pipeline(tar, createWriteStream(half), { signal })])
  signal.throwIfAborted()
  if (written.status === 'rejected' && filled.status === 'fulfilled') throw written.reason
  if (filled.status === 'rejected') throw filled.reason
  await using file = await open(half)
  await file.sync()
  await rename(half, path)
  await syncFolder(dirname(path))
}

/** An image may have come under several manifests; the first that is here is taken. */
async function manifestOf(
  { content }: Work,
  { image }: Wanted,
): Promise<{ manifest: Manifest; digest: string; bytes: Buffer }> {
  for (const digest of image.blobs) {
    if (digest === image.id || !(await content.has(digest))) continue
    if ((await stat(content.pathOf(digest))).size > largestManifest) continue
    const bytes = await content.read(digest)
    if (bytes[0] !== openBrace) continue // a layer
    const found = parseManifest(bytes, `manifest ${digest}`)
    if (!('manifest' in found) || found.manifest.config.digest !== image.id) continue
    for (const { digest: blob } of [found.manifest.config, ...found.manifest.layers]) {
      if (await content.has(blob)) continue
      throw new CriError(
        'NOT_FOUND',
        `image ${image.id} can't be exported: blob ${blob} is not kept here, as when another image brought the same layer in another form: remove both and pull this one again`,
      )
    }
    return { manifest: found.manifest, digest, bytes }
  }
  throw new CriError('NOT_FOUND', `image ${image.id} can't be exported: its manifest is not kept here: pull it again`)
}

/** Bytes; registries allow no larger. */
const largestManifest = 4 * 1024 * 1024
const openBrace = 0x7b

function tagsOf({ image, reference }: Wanted): string[] {
  if (!image.repoTags.length) return []
  try {
    const tag = taggedName(parseReference(reference))
    if (tag !== undefined && image.repoTags.includes(tag)) return [tag]
  } catch {
    // an ID, which is no name: it stands for all
  }
  return image.repoTags
}

const tagOf = (name: string): string => name.slice(name.lastIndexOf(':') + 1)

async function fillLayout(work: Work, tar: Tar): Promise<void> {
  const done = new Set<string>()
  const manifests: object[] = []
  const add = async (digest: string): Promise<void> => {
    if (done.has(digest)) return
    done.add(digest)
    await tar.file(`blobs/${algorithmOf(digest)}/${hexOf(digest)}`, work.content.pathOf(digest))
  }
  tar.text('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  for (const one of work.wanted) {
    const { manifest, digest, bytes } = await manifestOf(work, one)
    for (const blob of [digest, manifest.config.digest, ...manifest.layers.map((layer) => layer.digest)])
      await add(blob)
    const { mediaType } = JSON.parse(bytes.toString()) as { mediaType?: string }
    const descriptor = {
      mediaType: mediaType ?? 'application/vnd.oci.image.manifest.v1+json',
      digest,
      size: bytes.length,
    }
    const named = tagsOf(one).map((name) => ({
      ...descriptor,
      annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': tagOf(name) },
    }))
    manifests.push(...(named.length > 0 ? named : [descriptor]))
  }
  const unique = [...new Map(manifests.map((one) => [JSON.stringify(one), one])).values()]
  const mediaType = 'application/vnd.oci.image.index.v1+json'
  tar.text('index.json', JSON.stringify({ schemaVersion: 2, mediaType, manifests: unique }))
}

async function fillDocker(work: Work, tar: Tar): Promise<void> {
  const { content, scratch, signal } = work
  await mkdir(scratch, { recursive: true, mode: 0o700 })
  const folder = await mkdtemp(join(scratch, 'export-'))
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => rm(folder, { recursive: true, force: true }))
  const done = new Set<string>()
  const images = new Map<string, { Config: string; RepoTags: string[]; Layers: string[] }>()
  for (const one of work.wanted) {
    const { id } = one.image
    const { manifest } = await manifestOf(work, one)
    const { diff_ids: diffIds } = parseConfigFile(await content.read(id), `configuration ${id}`).rootfs
    const Layers = diffIds.map((diffId) => `${hexOf(diffId)}.tar`)
    for (const [index, layer] of manifest.layers.entries()) {
      const diffId = diffIds[index] ?? ''
      if (done.has(diffId)) continue
      done.add(diffId)
      const plain = join(folder, 'layer') // a tar tells the size first
      await decompressTo(content.pathOf(layer.digest), plain, diffId, signal)
      await tar.file(`${hexOf(diffId)}.tar`, plain)
    }
    if (!images.has(id)) tar.text(`${hexOf(id)}.json`, await content.read(id))
    const RepoTags = [...new Set([...(images.get(id)?.RepoTags ?? []), ...tagsOf(one)])]
    images.set(id, { Config: `${hexOf(id)}.json`, RepoTags, Layers })
  }
  const repositories: Record<string, Record<string, string>> = {}
  for (const { RepoTags, Layers } of images.values()) {
    for (const name of RepoTags) {
      const repository = name.slice(0, name.lastIndexOf(':'))
      repositories[repository] = { ...repositories[repository], [tagOf(name)]: Layers.at(-1)?.slice(0, -4) ?? '' }
    }
  }
  tar.text('manifest.json', JSON.stringify([...images.values()]))
  tar.text('repositories', JSON.stringify(repositories))
}

async function decompressTo(from: string, to: string, diffId: string, signal: AbortSignal): Promise<void> {
  const hash = hashLike(diffId)
  const hashed = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of chunks) {
      hash.update(chunk)
      yield chunk
    }
  }
  await pipeline(createReadStream(from), await decompressor(from), hashed, createWriteStream(to), { signal })
  const got = endOf(hash, diffId)
  if (got !== diffId) throw new CriError('UNKNOWN', `layer ${from} is corrupt: it has digest ${got}, not ${diffId}`)
}
