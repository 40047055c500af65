// What drivers are asked: plain objects → messages.
import type * as csi from '../gen/csi.ts'
import type { AccessMode } from './access-mode.ts'
import { badRequest } from './csi-error.ts'

/** The generated code, which is loaded when the first driver is there. */
export type Wire = typeof csi

type StringMap = Readonly<Record<string, string>>

/** How a volume is used. */
export type VolumeCapability =
  | { readonly volumeMode: 'Block'; readonly accessMode: AccessMode }
  | {
      readonly volumeMode: 'Filesystem'
      readonly accessMode: AccessMode
      /** Default: the driver's choice. */
      readonly fsType?: string | undefined
      /** Options of mount. */
      readonly mountFlags?: readonly string[] | undefined
      /** The group that owns the files, of drivers with VOLUME_MOUNT_GROUP. */
      readonly volumeMountGroup?: string | undefined
    }

/** Not told the driver. */
export interface ForMigrated {
  /** Of the volume: the call is counted so. Default: false. */
  readonly migrated?: boolean | undefined
}

/** Paths are absolute throughout. */
export interface StageRequest extends ForMigrated {
  readonly volumeId: string
  /** A folder that is there. */
  readonly stagingTargetPath: string
  readonly capability: VolumeCapability
  /** From the attachment. */
  readonly publishContext?: StringMap | undefined
  readonly volumeContext?: StringMap | undefined
  /** In no error and no log. */
  readonly secrets?: StringMap | undefined
}

export interface UnstageRequest {
  readonly volumeId: string
  readonly stagingTargetPath: string
}

export interface PublishRequest extends Omit<StageRequest, 'stagingTargetPath'> {
  /** Of drivers with STAGE_UNSTAGE_VOLUME. */
  readonly stagingTargetPath?: string | undefined
  /** The driver makes it; its parent is there. */
  readonly targetPath: string
  /** Default: false. */
  readonly readonly?: boolean | undefined
}

export interface UnpublishRequest {
  readonly volumeId: string
  readonly targetPath: string
}

export interface StatsRequest {
  readonly volumeId: string
  /** Where it is staged or published. */
  readonly volumePath: string
  readonly stagingTargetPath?: string | undefined
}

export interface ExpandRequest extends ForMigrated {
  readonly volumeId: string
  /** Where it is staged or published. */
  readonly volumePath: string
  /** What it must have at least, in bytes. */
  readonly requiredBytes: number
  /** What it may have at most, in bytes. Default: anything. */
  readonly limitBytes?: number | undefined
  readonly stagingTargetPath?: string | undefined
  readonly capability?: VolumeCapability | undefined
  /** In no error and no log. */
  readonly secrets?: StringMap | undefined
}

export const stageMessage = (wire: Wire, request: StageRequest): csi.NodeStageVolumeRequest => ({
  volumeId: idOf(request),
  stagingTargetPath: absolute(request.stagingTargetPath, 'stagingTargetPath'),
  volumeCapability: capabilityMessage(wire, request.capability),
  publishContext: { ...request.publishContext },
  volumeContext: { ...request.volumeContext },
  secrets: { ...request.secrets },
})

export const unstageMessage = (request: UnstageRequest): csi.NodeUnstageVolumeRequest => ({
  volumeId: idOf(request),
  stagingTargetPath: absolute(request.stagingTargetPath, 'stagingTargetPath'),
})

export const publishMessage = (wire: Wire, request: PublishRequest): csi.NodePublishVolumeRequest => ({
  volumeId: idOf(request),
  stagingTargetPath:
    request.stagingTargetPath === undefined ? '' : absolute(request.stagingTargetPath, 'stagingTargetPath'),
  targetPath: absolute(request.targetPath, 'targetPath'),
  readonly: request.readonly ?? false,
  volumeCapability: capabilityMessage(wire, request.capability),
  publishContext: { ...request.publishContext },
  volumeContext: { ...request.volumeContext },
  secrets: { ...request.secrets },
})

export const unpublishMessage = (request: UnpublishRequest): csi.NodeUnpublishVolumeRequest => ({
  volumeId: idOf(request),
  targetPath: absolute(request.targetPath, 'targetPath'),
})

export const statsMessage = (request: StatsRequest): csi.NodeGetVolumeStatsRequest => ({
  volumeId: idOf(request),
  volumePath: absolute(request.volumePath, 'volumePath'),
  stagingTargetPath:
    request.stagingTargetPath === undefined ? '' : absolute(request.stagingTargetPath, 'stagingTargetPath'),
})

export const expandMessage = (wire: Wire, request: ExpandRequest): csi.NodeExpandVolumeRequest => ({
  volumeId: idOf(request),
  volumePath: absolute(request.volumePath, 'volumePath'),
  stagingTargetPath:
    request.stagingTargetPath === undefined ? '' : absolute(request.stagingTargetPath, 'stagingTargetPath'),
  capacityRange: rangeMessage(request),
  volumeCapability: request.capability && capabilityMessage(wire, request.capability),
  secrets: { ...request.secrets },
})

export function capabilityMessage(wire: Wire, capability: VolumeCapability): csi.VolumeCapability {
  const accessMode = { mode: wire.VolumeCapability_AccessMode_Mode[capability.accessMode] }
  if (capability.volumeMode === 'Block') return { accessMode, block: {} }
  const { fsType = '', mountFlags = [], volumeMountGroup = '' } = capability
  return { accessMode, mount: { fsType, mountFlags: [...mountFlags], volumeMountGroup } }
}

const idOf = ({ volumeId }: { readonly volumeId: string }): string => required('volumeId', volumeId)

/** @throws CsiError */
export function required(field: string, value: string): string {
  if (value === '') throw badRequest(field, 'must not be empty')
  return value
}

export const rangeMessage = (range: {
  readonly requiredBytes: number
  readonly limitBytes?: number | undefined
}): csi.CapacityRange => ({
  requiredBytes: sizeOf(range.requiredBytes, 'requiredBytes'),
  limitBytes: sizeOf(range.limitBytes ?? 0, 'limitBytes'),
})

function absolute(path: string, field: string): string {
  if (!path.startsWith('/')) throw badRequest(field, `${JSON.stringify(path)}: must be an absolute path`)
  return path
}

function sizeOf(size: number, field: string): bigint {
  if (!Number.isSafeInteger(size) || size < 0)
    throw badRequest(field, `${size}: must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`)
  return BigInt(size)
}
