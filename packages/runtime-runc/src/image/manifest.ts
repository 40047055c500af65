// Manifests, indexes and configurations of images, as registries and layouts have them: validated here, once.
import { CriError } from '@nodelet/cri-api'
import { z } from 'zod'
import { digestPattern, digestRule } from '../digest.ts'

/** Where content is and what it must be. */
export interface Descriptor {
  mediaType: string
  digest: string
  /** Bytes. */
  size: number
  platform?: { architecture: string; os: string; variant?: string | undefined } | undefined
  annotations?: Record<string, string> | null | undefined
  /** Where else it is, when the registry may not give it away. */
  urls?: string[] | null | undefined
}

export interface Manifest {
  artifactType?: string | null | undefined
  config: Descriptor
  layers: Descriptor[]
}

type Words = string[] | null | undefined
type Word = string | null | undefined

/** An image's configuration file, as far as it is used. */
export interface ConfigFile {
  os?: Word
  architecture?: Word
  variant?: Word
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

const digest: z.ZodType<string> = z.string().regex(digestPattern, `must be ${digestRule}`)
const descriptor: z.ZodType<Descriptor> = z.object({
  mediaType: z.string(),
  digest,
  size: z.number().int().nonnegative(),
  platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).nullish(),
  urls: z.array(z.string()).max(20).nullish(),
})
const manifestSchema: z.ZodType<Manifest> = z.object({
  artifactType: z.string().nullish(),
  config: descriptor,
  layers: z.array(descriptor).max(500),
})
const indexSchema: z.ZodType<{ manifests: Descriptor[] }> = z.object({ manifests: z.array(descriptor).max(1000) })
const words: z.ZodType<Words> = z.array(z.string()).nullish()
const word: z.ZodType<Word> = z.string().nullish()
const configSchema: z.ZodType<ConfigFile> = z.object({
  os: word,
  architecture: word,
  variant: word,
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

interface Kind {
  manifests?: unknown
  layers?: unknown
  config?: unknown
  fsLayers?: unknown
  schemaVersion?: unknown
}
const part: z.ZodType<unknown> = z.unknown().optional()
const kindSchema: z.ZodType<Kind> = z.object({
  manifests: part,
  layers: part,
  config: part,
  fsLayers: part,
  schemaVersion: part,
})

const imageConfigs = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
  'application/octet-stream', // of old Docker versions
]
/** Bytes; what is larger is no configuration. */
const largestConfig = 8 * 1024 * 1024
const ociLayer = 'application/vnd.oci.image.layer.'
const dockerLayer = 'application/vnd.docker.image.rootfs.'

/** Other things than images are in registries too. */
function runnable(manifest: Manifest, what: string): Manifest {
  const { artifactType, config, layers } = manifest
  if (artifactType || !imageConfigs.includes(config.mediaType)) {
    const type = artifactType || config.mediaType
    throw new CriError('UNKNOWN', `${what} is an artifact of type ${type}, not an image that can run`)
  }
  if (config.size > largestConfig) {
    throw new CriError('UNKNOWN', `${what}: a configuration of ${config.size} bytes: ${largestConfig} are allowed`)
  }
  for (const { mediaType, digest: name } of layers) {
    if (mediaType.endsWith('+encrypted')) {
      throw new CriError('UNKNOWN', `${what}: layer ${name} is encrypted, which is not supported`)
    }
    if (!mediaType.startsWith(ociLayer) && !mediaType.startsWith(dockerLayer)) {
      throw new CriError('UNKNOWN', `${what}: layer ${name} has media type ${mediaType}, which is no file system`)
    }
  }
  return manifest
}

/** A manifest, or the entries of an index. */
export function parseManifest(content: Uint8Array, what: string): { manifest: Manifest } | { entries: Descriptor[] } {
  const { manifests, layers, config, fsLayers, schemaVersion } = parse(kindSchema, content, what)
  if (schemaVersion === 1 || fsLayers !== undefined) {
    throw new CriError('UNKNOWN', `${what}: manifest schema 1 is no longer supported: push the image again`)
  }
  if (manifests === undefined) return { manifest: runnable(parse(manifestSchema, content, what), what) }
  // Readers would disagree about what it is.
  if (layers !== undefined || config !== undefined) {
    throw new CriError('UNKNOWN', `${what}: both an index and a manifest`)
  }
  return { entries: parse(indexSchema, content, what).manifests }
}
