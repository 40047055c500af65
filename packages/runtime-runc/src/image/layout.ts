// OCI image layouts: a folder, or a tar of one. @see OCI image-spec, image-layout
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { createReadStream, createWriteStream } from 'node:fs'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CriError } from '@nodelet/cri-api'
import { extract } from 'tar-stream'
import { z } from 'zod'
import { chunksOf, sha256 } from '../content.ts'
import type { Descriptor } from './manifest.ts'
import type { Source } from './pull.ts'

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
const digest: z.ZodType<string> = z.string().regex(/^sha256:[a-f0-9]{64}$/)
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
 * Opens a layout. A tar is unpacked below `scratch` and removed when disposed.
 * @throws CriError INVALID_ARGUMENT when it is not a layout
 */
export async function openLayout(path: string, scratch: string): Promise<Layout> {
  await using opening = new AsyncDisposableStack()
  let folder = path
  const found = await stat(path).catch((cause: unknown) => {
    throw new CriError('INVALID_ARGUMENT', `${path}: ${(cause as Error).message}`, { cause })
  })
  if (!found.isDirectory()) {
    await mkdir(scratch, { recursive: true, mode: 0o700 })
    const unpacked = await mkdtemp(join(scratch, 'layout-'))
    opening.defer(async () => rm(unpacked, { recursive: true, force: true }))
    await untar(path, unpacked)
    folder = unpacked
  }
  const blobPath = (name: string): string => join(folder, 'blobs/sha256', name.slice('sha256:'.length))
  const index = await readIndex(folder, path)
  const checked = async ({ digest: expected }: Pick<Descriptor, 'digest'>): Promise<Buffer> => {
    const content = await readFile(blobPath(expected))
    const got = sha256(content)
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

async function readIndex(folder: string, path: string): Promise<Index> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8'))
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

/** A layout has two kinds of files; whatever else the tar has stays in it. */
const wanted = /^(?:\.\/)?(index\.json|oci-layout|blobs\/sha256\/[a-f0-9]{64})$/

async function untar(path: string, folder: string): Promise<void> {
  const entries = extract()
  const read = (async (): Promise<void> => {
    for await (const entry of entries) {
      const name = wanted.exec(entry.header.name)?.[1]
      if (name === undefined || entry.header.type !== 'file') {
        entry.resume()
        continue
      }
      await mkdir(dirname(join(folder, name)), { recursive: true })
      await pipeline(entry as unknown as AsyncIterable<Uint8Array>, createWriteStream(join(folder, name)))
    }
  })()
  try {
    await Promise.all([read, pipeline(createReadStream(path), entries)])
  } catch (cause) {
    throw new CriError('INVALID_ARGUMENT', `${path}: not a tar of an OCI image layout: ${(cause as Error).message}`, {
      cause,
    })
  }
}
