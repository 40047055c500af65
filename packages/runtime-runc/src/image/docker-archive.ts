// What `docker save` writes: manifest.json, configurations and layers. Read as if it were a layout.
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { CriError } from '@nodelet/cri-api'
import { z } from 'zod'
import { chunksOf } from '../content.ts'
import { sha256 } from '../digest.ts'
import { compressionOf } from '../snapshot/compression.ts'
import type { Layout, LayoutImage } from './layout.ts'
import { parseConfigFile } from './manifest.ts'
import type { Descriptor } from './manifest.ts'

interface DockerImage {
  Config: string
  RepoTags?: string[] | null | undefined
  Layers: string[]
}

const schema: z.ZodType<DockerImage[]> = z
  .array(
    z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()).max(500) }),
  )
  .min(1)

const plainLayer = 'application/vnd.oci.image.layer.v1.tar'

/** Names in the archive and where their content is now. */
export type ArchiveFiles = ReadonlyMap<string, string>

/**
 * The images of an unpacked archive. Their manifests are made here: the archive has none.
 * @throws CriError INVALID_ARGUMENT when it is not what `docker save` writes
 */
export async function readDockerArchive(
  files: ArchiveFiles,
  path: string,
): Promise<Omit<Layout, keyof AsyncDisposable>> {
  const fileOf = (name: string): string => {
    const file = files.get(name)
    if (file === undefined) throw new CriError('INVALID_ARGUMENT', `${path}: manifest.json names ${name}: not there`)
    return file
  }
  /** By digest. */
  const blobs = new Map<string, string>()
  const describe = async (file: string, mediaType: string): Promise<Descriptor> => {
    const digest = await digestOf(file)
    blobs.set(digest, file)
    return { mediaType, digest, size: (await stat(file)).size }
  }
  const images: LayoutImage[] = []
  for (const { Config, RepoTags, Layers } of await readManifest(fileOf('manifest.json'), path)) {
    const config = await describe(fileOf(Config), 'application/vnd.oci.image.config.v1+json')
    const { diff_ids: diffIds } = parseConfigFile(await readFile(fileOf(Config)), `${path}: ${Config}`).rootfs
    const layers: Descriptor[] = []
    for (const [index, name] of Layers.entries()) {
      const layer = await describe(fileOf(name), await layerType(fileOf(name)))
      // A layer that is unpacked already would not be looked at again.
      if (layer.mediaType === plainLayer && layer.digest !== diffIds[index]) {
        const expected = diffIds[index] ?? 'none'
        throw new CriError(
          'INVALID_ARGUMENT',
          `${path}: layer ${name} has digest ${layer.digest}, its configuration says ${expected}`,
        )
      }
      layers.push(layer)
    }
    const mediaType = 'application/vnd.oci.image.manifest.v1+json'
    const content = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }))
    const descriptor = { mediaType, digest: sha256(content), size: content.length }
    const names = RepoTags?.length ? RepoTags : [undefined]
    images.push(...names.map((name) => ({ descriptor, content, ...(name !== undefined && { name }) })))
  }
  const blobFile = (digest: string): string => {
    const file = blobs.get(digest)
    if (file === undefined) throw new CriError('UNKNOWN', `${path}: there is no blob ${digest}`)
    return file
  }
  return {
    images,
    source: {
      manifest: async ({ digest }) => readFile(blobFile(digest)),
      blob: (blob, _signal, from) => chunksOf(blobFile(blob.digest), from),
    },
  }
}

async function readManifest(file: string, path: string): Promise<DockerImage[]> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new CriError('INVALID_ARGUMENT', `${path}: manifest.json: ${(cause as Error).message}`, { cause })
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new CriError('INVALID_ARGUMENT', `${path}: manifest.json: ${issue?.path.join('.')}: ${issue?.message}`)
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array)
  return `sha256:${hash.digest('hex')}`
}

async function layerType(file: string): Promise<string> {
  const compression = await compressionOf(file)
  return compression === 'none' ? plainLayer : `${plainLayer}+${compression}`
}
