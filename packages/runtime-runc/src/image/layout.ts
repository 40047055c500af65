// OCI image layouts, a folder or a tar of one, and what `docker save` writes. @see OCI image-spec, image-layout
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { z } from 'zod'
import { chunksOf } from '../content.ts'
import { algorithmOf, digestLike, digestPattern, digestRule, hexOf } from '../digest.ts'
import { readDockerArchive } from './docker-archive.ts'
import type { Descriptor } from './manifest.ts'
import type { Source } from './pull.ts'
import { untarFlat } from './untar.ts'

/** An image that a layout has. */
export interface LayoutImage {
  descriptor: Descriptor
  content: Buffer
  /** What the layout calls it. */
  name?: string
}

export interface Layout extends AsyncDisposable {
  images: LayoutImage[]
  source: Source
}

const nameKeys = ['io.containerd.image.name', 'org.opencontainers.image.ref.name']
const digest: z.ZodType<string> = z.string().regex(digestPattern, `must be ${digestRule}`)
/** Some builders write the tag alone, which would be another image's name. */
const isName = (text: string): boolean => /[/:]/.test(text)

interface Index {
  manifests: (Omit<Descriptor, 'annotations'> & { annotations?: Record<string, string> | undefined })[]
}

const indexSchema: z.ZodType<Index> = z.object({
  manifests: z
    .array(
      z.object({
        mediaType: z.string(),
        digest,
        size: z.number().int().nonnegative(),
        annotations: z.record(z.string(), z.string()).optional(),
      }),
    )
    .min(1),
})

/**
 * Opens a layout, or a docker archive. A tar is unpacked below `scratch` and removed when disposed.
 * @throws CriError INVALID_ARGUMENT when it is neither
 */
export async function openLayout(path: string, scratch: string, signal: AbortSignal): Promise<Layout> {
  await using opening = new AsyncDisposableStack()
  let fileOf = (name: string): string => join(path, name)
  const found = await stat(path).catch((cause: unknown) => {
    throw new CriError('INVALID_ARGUMENT', `${path}: ${(cause as Error).message}`, { cause })
  })
  if (!found.isDirectory()) {
    await mkdir(scratch, { recursive: true, mode: 0o700 })
    const unpacked = await mkdtemp(join(scratch, 'layout-'))
    opening.defer(async () => rm(unpacked, { recursive: true, force: true }))
    const files = await untarFlat(path, unpacked, signal)
    if (!files.has('index.json')) {
      if (!files.has('manifest.json')) {
        throw new CriError(
          'INVALID_ARGUMENT',
          `${path}: neither an OCI image layout nor a docker archive: it has no index.json and no manifest.json`,
        )
      }
      const archive = await readDockerArchive(files, path)
      const opened = opening.move()
      return { ...archive, [Symbol.asyncDispose]: async () => opened.disposeAsync() }
    }
    fileOf = (name) => {
      const file = files.get(posix.normalize(name))
      if (file === undefined) throw new CriError('INVALID_ARGUMENT', `${path} is incomplete: it has no ${name}`)
      return file
    }
  }
  const blobPath = (name: string): string => fileOf(`blobs/${algorithmOf(name)}/${hexOf(name)}`)
  const index = await readIndex(fileOf('index.json'), path)
  const checked = async ({ digest: expected }: Pick<Descriptor, 'digest'>): Promise<Buffer> => {
    const content = await readFile(blobPath(expected))
    const got = digestLike(expected, content)
    if (got !== expected) throw new CriError('UNKNOWN', `${path}: blob ${expected} is corrupt: it has digest ${got}`)
    return content
  }
  const images = await Promise.all(
    index.manifests.map(async ({ annotations = {}, ...descriptor }) => {
      const name = nameKeys.map((key) => annotations[key]).find((value) => value !== undefined && isName(value))
      return { descriptor, content: await checked(descriptor), ...(name !== undefined && { name }) }
    }),
  )
  const opened = opening.move()
  return {
    images,
    source: { manifest: checked, blob: (blob, _signal, from) => chunksOf(blobPath(blob.digest), from) },
    [Symbol.asyncDispose]: async () => opened.disposeAsync(),
  }
}

async function readIndex(file: string, path: string): Promise<Index> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new CriError(
      'INVALID_ARGUMENT',
      `${path}: not an OCI image layout: index.json: ${(cause as Error).message}`,
      { cause },
    )
  }
  const result = indexSchema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new CriError('INVALID_ARGUMENT', `${path}: index.json: ${issue?.path.join('.')}: ${issue?.message}`)
}
