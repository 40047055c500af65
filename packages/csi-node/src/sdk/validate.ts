// Requests of the wire → plain ones; what the specification does not allow is refused by field. Pure.
import { isAbsolute } from 'node:path'
import { VolumeCapability_AccessMode_Mode as Mode } from '../gen/csi.ts'
import type * as wire from '../gen/csi.ts'
import { tokensKey } from '../tokens.ts'
import { CsiError } from './errors.ts'
import type { AccessMode, CapacityRange, ContentSource, StringMap, Topology, VolumeCapability } from './types.ts'

const [stringBytes, nodeIdBytes, mapBytes, pathBytes] = [128, 256, 4096, 4095]

export const refused = (message: string): CsiError => new CsiError('INVALID_ARGUMENT', message)
const sizeOf = (text: string): number => Buffer.byteLength(text)

/** A string of the specification's size, which may be empty. @throws CsiError INVALID_ARGUMENT, as all here */
export function text(field: string, value: string, limit: number = stringBytes): string {
  if (sizeOf(value) > limit) throw refused(`${field}: ${sizeOf(value)} bytes are more than ${limit}`)
  return value
}

export function required(field: string, value: string): string {
  if (value === '') throw refused(`${field} is missing`)
  return text(field, value)
}

export function nodeId(field: string, value: string): string {
  if (value === '') throw refused(`${field} is missing`)
  return text(field, value, nodeIdBytes)
}

/** An absolute path without steps up: it is made, mounted on and removed. */
export function path(field: string, value: string): string {
  if (value === '') throw refused(`${field} is missing`)
  if (!isAbsolute(value) || value.split('/').includes('..') || value.includes('\0')) {
    throw refused(`${field} ${JSON.stringify(value)}: must be an absolute path without ".."`)
  }
  return text(field, value, pathBytes)
}

/** Where a volume is said to be; no volume is at a relative path. @throws CsiError NOT_FOUND too, which csi-sanity asks for */
export function volumePath(field: string, value: string): string {
  if (value === '' || isAbsolute(value)) return path(field, value)
  throw new CsiError('NOT_FOUND', `${field} ${JSON.stringify(value)}: no volume is at a path that is not absolute`)
}

export const optionalPath = (field: string, value: string): string | undefined =>
  value === '' ? undefined : path(field, value)

/** Kubelets put tokens there that by themselves may be larger: they do not count. */
export function map(field: string, value: StringMap): StringMap {
  const counted = Object.entries(value).filter(([key]) => key !== tokensKey)
  const size = counted.reduce((sum, [key, each]) => sum + sizeOf(key) + sizeOf(each), 0)
  if (size > mapBytes) throw refused(`${field}: ${size} bytes are more than ${mapBytes}`)
  return value
}

/** Values are never part of a message. */
export function secrets(value: StringMap): StringMap {
  const odd = Object.keys(value).find((key) => key !== tokensKey && !/^[A-Za-z0-9._-]+$/.test(key))
  if (odd !== undefined)
    throw refused(`secrets: the key ${JSON.stringify(odd)} has other characters than A-Z a-z 0-9 - _ .`)
  return map('secrets', value)
}

export function capability(field: string, value: wire.VolumeCapability | undefined): VolumeCapability {
  if (!value) throw refused(`${field} is missing`)
  const { block, mount } = value
  const [mode] = Object.entries(Mode).find(([, number]) => number === value.accessMode?.mode) ?? []
  if (mode === undefined || mode === 'UNKNOWN' || mode === 'UNRECOGNIZED')
    throw refused(`${field}.access_mode is missing or unknown`)
  const accessMode = mode as AccessMode
  if (block && mount) throw refused(`${field}: block and mount exclude each other`)
  if (block) return { kind: 'block', accessMode }
  if (!mount) throw refused(`${field}: block or mount is missing`)
  const { fsType, mountFlags, volumeMountGroup } = mount
  const size = mountFlags.reduce((sum, each) => sum + sizeOf(each), 0)
  if (size > mapBytes) throw refused(`${field}.mount.mount_flags: ${size} bytes are more than ${mapBytes}`)
  text(`${field}.mount.fs_type`, fsType)
  text(`${field}.mount.volume_mount_group`, volumeMountGroup)
  return { kind: 'mount', accessMode, fsType, mountFlags, volumeMountGroup }
}

export const optionalCapability = (
  field: string,
  value: wire.VolumeCapability | undefined,
): VolumeCapability | undefined => (value ? capability(field, value) : undefined)

/** With `some`, at least one. */
export function capabilities(
  field: string,
  values: readonly wire.VolumeCapability[],
  some: 'some' | 'any',
): VolumeCapability[] {
  if (some === 'some' && values.length === 0) throw refused(`${field} is missing`)
  return values.map((value, at) => capability(`${field}[${at}]`, value))
}

export function range(value: wire.CapacityRange | undefined): CapacityRange {
  const bytes = (field: string, number: bigint): number => {
    if (number < 0n) throw refused(`capacity_range.${field} ${number}: must not be negative`)
    if (number > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new CsiError(
        'OUT_OF_RANGE',
        `capacity_range.${field} ${number}: more than ${Number.MAX_SAFE_INTEGER} bytes`,
      )
    }
    return Number(number)
  }
  const requiredBytes = bytes('required_bytes', value?.requiredBytes ?? 0n)
  const limitBytes = bytes('limit_bytes', value?.limitBytes ?? 0n)
  if (limitBytes > 0 && limitBytes < requiredBytes) {
    throw refused(`capacity_range: limit_bytes ${limitBytes} is less than required_bytes ${requiredBytes}`)
  }
  return limitBytes > 0 ? { requiredBytes, limitBytes } : { requiredBytes }
}

/** As `range`, but it must be there and ask for something. */
export function wantedRange(value: wire.CapacityRange | undefined): CapacityRange {
  const wanted = range(value)
  if (wanted.requiredBytes === 0 && wanted.limitBytes === undefined) throw refused('capacity_range is missing')
  return wanted
}

export function contentSource(value: wire.VolumeContentSource | undefined): ContentSource | undefined {
  if (!value) return undefined
  const { snapshot, volume } = value
  if (snapshot)
    return { kind: 'snapshot', id: required('volume_content_source.snapshot.snapshot_id', snapshot.snapshotId) }
  if (volume) return { kind: 'volume', id: required('volume_content_source.volume.volume_id', volume.volumeId) }
  throw refused('volume_content_source: snapshot or volume is missing')
}

export function topology(value: wire.TopologyRequirement | undefined): Topology | undefined {
  if (!value) return undefined
  const all = (field: string, topologies: readonly wire.Topology[]) =>
    topologies.map(({ segments }) => map(`accessibility_requirements.${field}`, segments))
  return { requisite: all('requisite', value.requisite), preferred: all('preferred', value.preferred) }
}

export function maxEntries(value: number): number | undefined {
  if (value < 0) throw refused(`max_entries ${value}: must not be negative`)
  return value === 0 ? undefined : value
}

/** @throws CsiError INVALID_ARGUMENT: what GetPluginInfo may say */
export function driverName(value: string): string {
  if (value.length <= 63 && /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(value)) return value
  throw refused(
    `driver name ${JSON.stringify(value)}: at most 63 letters, digits, "-" and ".", a letter or digit at both ends`,
  )
}
