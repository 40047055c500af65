// What a new volume is to be, or why it cannot be. Pure.
import { CsiError } from '../sdk/errors.ts'
import type { CapacityRange, CreateVolumeRequest, StringMap, VolumeCapability } from '../sdk/types.ts'
import { refused } from '../sdk/validate.ts'
import type { Settings } from './options.ts'
import { fileSystems } from './programs.ts'
import type { Content, State, VolumeRecord } from './records.ts'

export type Plan = Omit<Content, 'data'> & { kind: string }

const gib = 2 ** 30
/** Images are made of whole pages. */
const pageBytes = 4096
/** What the provisioner adds; not for the driver. */
const reservedPrefix = 'csi.storage.k8s.io/'

/** @throws CsiError INVALID_ARGUMENT, OUT_OF_RANGE */
export function planVolume(request: CreateVolumeRequest, settings: Settings, from: Content | undefined): Plan {
  const { capabilities, parameters, range } = request
  const isBlock = sameKind(capabilities) === 'block'
  const backing = backingOf(parameters, isBlock)
  const fsType = backing === 'image' && !isBlock ? fsTypeOf(capabilities) : ''
  if (from) refuseOtherContent(from, { backing, isBlock, fsType })
  const sizeBytes = sizeOf(range, settings.maxVolumeSize, {
    least: Math.max(from?.sizeBytes ?? 0, fileSystems[fsType]?.minimumBytes ?? 0),
    step: backing === 'image' ? pageBytes : 1,
    usual: backing === 'image' ? gib : 0,
  })
  return { backing, isBlock, fsType, sizeBytes, kind: kindOf(parameters, settings.capacity) }
}

function sameKind(capabilities: readonly VolumeCapability[]): VolumeCapability['kind'] {
  const kinds = new Set(capabilities.map(({ kind }) => kind))
  const [kind] = kinds
  if (kind === undefined || kinds.size > 1) throw refused('volume_capabilities: block and mount exclude each other')
  return kind
}

function backingOf(parameters: StringMap, isBlock: boolean): Content['backing'] {
  const known = new Set(['backing', 'kind'])
  const odd = Object.keys(parameters).find((name) => !known.has(name) && !name.startsWith(reservedPrefix))
  if (odd !== undefined) throw refused(`parameters.${odd}: this driver has the parameters backing and kind`)
  const { backing = isBlock ? 'image' : 'folder' } = parameters
  if (backing !== 'folder' && backing !== 'image') throw refused(`parameters.backing ${backing}: folder or image`)
  if (backing === 'folder' && isBlock) throw refused('parameters.backing folder: a block volume is an image')
  return backing
}

function fsTypeOf(capabilities: readonly VolumeCapability[]): string {
  const types = new Set(capabilities.flatMap((each) => (each.kind === 'mount' && each.fsType ? [each.fsType] : [])))
  const [fsType = 'ext4'] = types
  if (types.size > 1) throw refused(`volume_capabilities: more than one fs_type: ${[...types].join(', ')}`)
  if (!(fsType in fileSystems)) {
    throw refused(`volume_capabilities.mount.fs_type ${fsType}: an image has ${Object.keys(fileSystems).join(' or ')}`)
  }
  return fsType
}

function refuseOtherContent(from: Content, wanted: Pick<Content, 'backing' | 'isBlock' | 'fsType'>): void {
  const kind = ({ backing, isBlock, fsType }: typeof wanted): string =>
    isBlock ? 'block' : `${backing} ${fsType}`.trim()
  if (kind(from) === kind(wanted)) return
  throw refused(`volume_content_source: it is of kind ${kind(from)}, the volume is to be ${kind(wanted)}`)
}

function kindOf({ kind = '' }: StringMap, capacity: Settings['capacity']): string {
  const kinds = Object.keys(capacity)
  if (kinds.length === 0 && kind === '') return ''
  if (kinds.includes(kind)) return kind
  throw refused(`parameters.kind ${JSON.stringify(kind)}: this driver has ${kinds.join(', ') || 'no kinds'}`)
}

/** @throws CsiError OUT_OF_RANGE */
export function sizeOf(
  { requiredBytes, limitBytes = Number.MAX_SAFE_INTEGER }: CapacityRange,
  most: number,
  { least, step, usual }: { least: number; step: number; usual: number },
): number {
  const wanted = requiredBytes > 0 ? requiredBytes : Math.min(usual, limitBytes, most)
  const sizeBytes = Math.ceil(Math.max(wanted, least) / step) * step
  if (sizeBytes > limitBytes) {
    throw new CsiError('OUT_OF_RANGE', `capacity_range.limit_bytes ${limitBytes}: the volume takes ${sizeBytes}`)
  }
  if (sizeBytes > most)
    throw new CsiError('OUT_OF_RANGE', `${sizeBytes} bytes are more than the largest volume, ${most}`)
  return sizeBytes
}

/** @throws CsiError RESOURCE_EXHAUSTED */
export function refuseOverCapacity(state: State, settings: Settings, kind: string, moreBytes: number): void {
  const capacity = settings.capacity[kind]
  if (capacity === undefined) return
  const free = capacity - usedBytes(state, kind)
  if (moreBytes <= free) return
  throw new CsiError('RESOURCE_EXHAUSTED', `${moreBytes} bytes more: ${Math.max(0, free)} of kind ${kind} are left`)
}

export const usedBytes = ({ volumes }: State, kind: string): number =>
  [...volumes.values()].reduce((sum, each) => sum + (each.kind === kind ? each.sizeBytes : 0), 0)

/** Whether a volume of that name is what is asked for again. @throws CsiError ALREADY_EXISTS when it is another */
export function refuseDifferent(
  found: VolumeRecord,
  request: CreateVolumeRequest,
  plan: Omit<Plan, 'sizeBytes'>,
): void {
  const { requiredBytes, limitBytes = Number.MAX_SAFE_INTEGER } = request.range
  const differences = {
    size: found.sizeBytes < requiredBytes || found.sizeBytes > limitBytes,
    backing: found.backing !== plan.backing,
    'volume mode': found.isBlock !== plan.isBlock,
    'file system': found.fsType !== plan.fsType,
    kind: found.kind !== plan.kind,
    source: found.source?.id !== request.contentSource?.id || found.source?.kind !== request.contentSource?.kind,
  }
  const different = Object.entries(differences).flatMap(([what, differs]) => (differs ? [what] : []))
  if (different.length > 0) {
    throw new CsiError('ALREADY_EXISTS', `volume ${request.name} is there with another ${different.join(', ')}`)
  }
}
