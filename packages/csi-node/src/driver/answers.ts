// What drivers answer, as plain objects, once it makes sense.
import type {
  NodeExpandVolumeResponse,
  NodeGetCapabilitiesResponse,
  NodeGetInfoResponse,
  NodeGetVolumeStatsResponse,
  NodeServiceCapability_RPC_Type as Type,
  VolumeUsage,
} from '../gen/csi.ts'
import type { Logger } from '../log.ts'
import { badAnswer } from './csi-error.ts'

/** What a driver's node service can do. */
export interface NodeCapabilities {
  /** STAGE_UNSTAGE_VOLUME */
  readonly stageUnstage: boolean
  /** GET_VOLUME_STATS */
  readonly volumeStats: boolean
  /** EXPAND_VOLUME */
  readonly expand: boolean
  /** VOLUME_CONDITION */
  readonly volumeCondition: boolean
  /** SINGLE_NODE_MULTI_WRITER */
  readonly singleNodeMultiWriter: boolean
  /** VOLUME_MOUNT_GROUP */
  readonly volumeMountGroup: boolean
}

/** Capabilities that came later than this code are passed over. */
export function capabilitiesOf({ capabilities }: NodeGetCapabilitiesResponse, types: typeof Type): NodeCapabilities {
  const all = new Set(capabilities.map(({ rpc }) => rpc?.type))
  return {
    stageUnstage: all.has(types.STAGE_UNSTAGE_VOLUME),
    volumeStats: all.has(types.GET_VOLUME_STATS),
    expand: all.has(types.EXPAND_VOLUME),
    volumeCondition: all.has(types.VOLUME_CONDITION),
    singleNodeMultiWriter: all.has(types.SINGLE_NODE_MULTI_WRITER),
    volumeMountGroup: all.has(types.VOLUME_MOUNT_GROUP),
  }
}

/** A node as a driver sees it. */
export interface NodeInfo {
  readonly nodeId: string
  /** At most 2^31−1, as CSINode holds no more; 0 is no limit. A negative one is logged and is none. */
  readonly maxVolumesPerNode: number
  /** Segments of the accessible topology: labels of the node. Undefined: the driver has none. */
  readonly topology: Readonly<Record<string, string>> | undefined
}

const maxNodeIdBytes = 256
const maxCount = 2 ** 31 - 1

/** @throws CsiError naming the field */
export function nodeInfoOf(answer: NodeGetInfoResponse, driver: string, log: Logger): NodeInfo {
  const { nodeId, maxVolumesPerNode, accessibleTopology } = answer
  const size = Buffer.byteLength(nodeId)
  if (size === 0) throw badAnswer('NodeGetInfo', 'node_id is empty')
  if (size > maxNodeIdBytes)
    throw badAnswer('NodeGetInfo', `node_id has ${size} bytes: must be at most ${maxNodeIdBytes}`)
  if (maxVolumesPerNode < 0n) {
    const limit = String(maxVolumesPerNode)
    log.error({ driver, limit }, 'a CSI driver has a negative limit of volumes, which is ignored')
  }
  return {
    nodeId,
    maxVolumesPerNode: Math.max(0, Math.min(Number(maxVolumesPerNode), maxCount)),
    topology: accessibleTopology?.segments,
  }
}

/** Of one unit: bytes, or inodes. Beyond 2^53 the nearest number that there is. */
export interface VolumeUse {
  readonly total: number
  readonly available: number
  readonly used: number
}

/** How full a volume is, and how it is. */
export interface VolumeStats {
  readonly bytes?: VolumeUse
  readonly inodes?: VolumeUse
  /** Of drivers with VOLUME_CONDITION. */
  readonly condition?: { readonly abnormal: boolean; readonly message: string }
}

/** @throws CsiError naming the field */
export function statsOf({ usage, volumeCondition }: NodeGetVolumeStatsResponse): VolumeStats {
  if (usage.length === 0) throw badAnswer('NodeGetVolumeStats', 'usage is missing')
  const bytes = usage.findLast(({ unit }) => unit === 1)
  const inodes = usage.findLast(({ unit }) => unit === 2)
  if (!bytes && !inodes) throw badAnswer('NodeGetVolumeStats', 'usage is neither in BYTES nor in INODES')
  return {
    ...(bytes && { bytes: useOf(bytes, 'BYTES') }),
    ...(inodes && { inodes: useOf(inodes, 'INODES') }),
    ...(volumeCondition && { condition: { abnormal: volumeCondition.abnormal, message: volumeCondition.message } }),
  }
}

function useOf(usage: VolumeUsage, unit: string): VolumeUse {
  const amount = (field: 'total' | 'available' | 'used'): number =>
    amountOf('NodeGetVolumeStats', `usage in ${unit}: ${field}`, usage[field])
  return { total: amount('total'), available: amount('available'), used: amount('used') }
}

/** What the volume has now, in bytes; undefined when the driver does not say. @throws CsiError naming the field */
export const capacityOf = ({ capacityBytes }: NodeExpandVolumeResponse): number | undefined =>
  amountOf('NodeExpandVolume', 'capacity_bytes', capacityBytes) || undefined

function amountOf(rpc: string, field: string, amount: bigint): number {
  if (amount < 0n) throw badAnswer(rpc, `${field} is ${amount}: must not be negative`)
  return Number(amount)
}
