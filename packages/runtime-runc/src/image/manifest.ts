// Manifests, indexes and configurations of images, as registries and layouts have them: validated here, once.
import { CriError } from '@nodelet/cri-api'
import { z } from 'zod'

/** Where content is and what it must be. */
export interface Descriptor {
  mediaType: string
  digest: string
  /** Bytes. */
  size: number
  platform?: { architecture: string; os: string; variant?: string | undefined } | undefined
  annotations?: Record<string, string> | null | undefined
}

export interface Manifest {
  config: Descriptor
  layers: Descriptor[]
}

type Words = string[] | null | undefined
type Word = string | null | undefined

/** An image's configuration file, as far as it is used. */
export interface ConfigFile {
  config?:
    | {
        Entrypoint?: Words
        Cmd?: Words
        Env?: Words
        WorkingDir?: Word
        User?: Word
        StopSignal?: Word
        Volumes?: Record<string, object> | null | undefined
      }
    | null
    | undefined
  rootfs: { type: 'layers'; diff_ids: string[] }
}

const digest: z.ZodType<string> = z.string().regex(/^sha256:[a-f0-9]{64}$/, 'must be sha256: and 64 hex digits')
const descriptor: z.ZodType<Descriptor> = z.object({
  mediaType: z.string(),
  digest,
  size: z.number().int().nonnegative(),
  platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).nullish(),
})
const manifestSchema: z.ZodType<Manifest> = z.object({ config: descriptor, layers: z.array(descriptor).max(500) })
const indexSchema: z.ZodType<{ manifests: Descriptor[] }> = z.object({ manifests: z.array(descriptor).max(1000) })
const words: z.ZodType<Words> = z.array(z.string()).nullish()
const word: z.ZodType<Word> = z.string().nullish()
const configSchema: z.ZodType<ConfigFile> = z.object({
  config: z
    .object({
      Entrypoint: words,
      Cmd: words,
      Env: words,
      WorkingDir: word,
      User: word,
      StopSignal: word,
      Volumes: z.record(z.string(), z.object({})).nullish(),
    })
    .nullish(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digest) }),
})

/** What registries are asked for, best first. */
export const manifestTypes: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]

function parse<T>(schema: z.ZodType<T>, content: Uint8Array, what: string): T {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(content).toString())
  } catch (error) {
    throw new CriError('UNKNOWN', `${what} is not JSON: ${(error as Error).message}`, { cause: error })
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new CriError('UNKNOWN', `${what}: ${issue?.path.join('.')}: ${issue?.message}`)
}

export const parseConfigFile = (content: Uint8Array, what: string): ConfigFile => parse(configSchema, content, what)

const kindSchema: z.ZodType<{ manifests?: unknown; schemaVersion?: unknown }> = z.object({
  manifests: z.unknown().optional(),
  schemaVersion: z.unknown().optional(),
})

/** Other things than images are in registries too. */
function runnable(manifest: Manifest, what: string): Manifest {
  if (manifest.config.mediaType === 'application/vnd.oci.empty.v1+json') {
    throw new CriError('UNKNOWN', `${what} is an artifact, not an image that can run`)
  }
  const encrypted = manifest.layers.find(({ mediaType }) => mediaType.endsWith('+encrypted'))
  if (encrypted)
    throw new CriError('UNKNOWN', `${what}: layer ${encrypted.digest} is encrypted, which is not supported`)
  return manifest
}

/** A manifest, or the entry of an index that fits this machine. */
export function parseManifest(content: Uint8Array, what: string): { manifest: Manifest } | { next: Descriptor } {
  const { manifests, schemaVersion } = parse(kindSchema, content, what)
  if (schemaVersion === 1) throw new CriError('UNKNOWN', `${what}: schema 1 is too old: push the image again`)
  if (manifests === undefined) return { manifest: runnable(parse(manifestSchema, content, what), what) }
  return { next: choosePlatform(parse(indexSchema, content, what).manifests, what) }
}

const goArchitectures: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }

/** This machine's architecture as images name it. */
export const architecture: string = goArchitectures[process.arch] ?? process.arch

function choosePlatform(manifests: readonly Descriptor[], what: string): Descriptor {
  const fitting = manifests.filter(
    ({ platform }) => platform && platform.os === 'linux' && platform.architecture === architecture,
  )
  // Entries without a platform: a layout of one image. Attestations say "unknown".
  const found = fitting[0] ?? (manifests.length === 1 && !manifests[0]?.platform ? manifests[0] : undefined)
  if (found) return found
  const offered = manifests.flatMap(({ platform }) => (platform ? [`${platform.os}/${platform.architecture}`] : []))
  throw new CriError(
    'NOT_FOUND',
    `${what}: no match for platform linux/${architecture} in manifest: not found; it has ${offered.join(', ') || 'none'}`,
  )
}
