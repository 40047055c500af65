// From what a name stands for to the manifest for this machine.
import { CriError } from '@nodelet/cri-api'
import { parseConfigFile, parseManifest } from './manifest.ts'
import type { Descriptor, Manifest } from './manifest.ts'
import { normalise, printPlatform, rankOf } from './platform.ts'
import type { Platform } from './platform.ts'

export interface SelectOptions {
  /** The image, for messages. */
  what: string
  machine: Platform
  /** Reads a manifest or an index, checked. */
  manifest(descriptor: Descriptor): Promise<Buffer>
  /** Reads a configuration, checked. */
  config(descriptor: Descriptor): Promise<Buffer>
}

export interface Selected {
  manifest: Manifest
  bytes: Buffer
}

/** Indexes within each other. */
const deepestIndex = 3

/**
 * The manifest itself, or the entry of an index that this machine runs best. Entries that do not say their platform are
 * looked into when no other fits.
 * @throws CriError NOT_FOUND when there is none for this machine
 */
export async function selectManifest(root: Buffer, options: SelectOptions): Promise<Selected> {
  const offered: string[] = []
  const found = await within(root, options, deepestIndex, offered)
  if (found) return found
  const { what, machine } = options
  const own = printPlatform(normalise(machine))
  const list = [...new Set(offered)].join(', ') || 'none'
  throw new CriError(
    'NOT_FOUND',
    `${what}: no match for platform in manifest: not found: it is ${own}, there is ${list}`,
  )
}

async function within(
  bytes: Buffer,
  options: SelectOptions,
  depth: number,
  offered: string[],
): Promise<Selected | undefined> {
  const { what, machine } = options
  const parsed = parseManifest(bytes, `manifest of ${what}`)
  if ('manifest' in parsed) return { manifest: parsed.manifest, bytes }
  if (depth === 0) throw new CriError('UNKNOWN', `${what}: more than ${deepestIndex} indexes within each other`)
  const entries = parsed.entries.filter((entry) => !isAttestation(entry))
  for (const { platform } of entries) if (platform) offered.push(printPlatform(platform))

  const fitting = entries.flatMap((entry) => {
    const rank = entry.platform && rankOf(entry.platform, machine)
    return rank === undefined ? [] : [{ entry, rank }]
  })
  for (const { entry } of fitting.toSorted((a, b) => a.rank - b.rank)) {
    const found = await within(await options.manifest(entry), options, depth - 1, offered)
    if (found) return found
  }
  for (const entry of entries.filter(({ platform }) => !platform)) {
    const inner = await options.manifest(entry)
    const found = await within(inner, options, depth - 1, offered)
    if (found && (found.bytes !== inner || (await isForMachine(found.manifest, options, offered)))) return found
  }
  return undefined
}

/** What builders add to say where an image is from: nothing runs it. */
function isAttestation({ platform, annotations }: Descriptor): boolean {
  const isUnknown = platform?.os === 'unknown' && platform.architecture === 'unknown'
  return isUnknown || annotations?.['vnd.docker.reference.type'] !== undefined
}

async function isForMachine(manifest: Manifest, options: SelectOptions, offered: string[]): Promise<boolean> {
  const { os, architecture, variant } = parseConfigFile(
    await options.config(manifest.config),
    `configuration of ${options.what}`,
  )
  // One that says nothing could run anywhere.
  if (!os || !architecture) return true
  const platform = { os, architecture, variant: variant ?? undefined }
  offered.push(printPlatform(platform))
  return rankOf(platform, options.machine) !== undefined
}
