// What a driver's functions get and give: plain objects. All sizes are in bytes.
import type { AccessMode } from '../driver/access-mode.ts'
import type { Logger } from '../log.ts'

export type { AccessMode } from '../driver/access-mode.ts'

/** How a volume is to be used: as a device or as a file system. */
export type VolumeCapability = { accessMode: AccessMode } & (
  { kind: 'block' } | { kind: 'mount'; fsType: string; mountFlags: readonly string[]; volumeMountGroup: string }
)

/** Of which a missing end is not limited; default of `required`: 0. */
export interface CapacityRange {
  requiredBytes: number
  limitBytes?: number
}

export type StringMap = Readonly<Record<string, string>>

/** What comes with each call. Work goes on when the caller gives up, as the specification wants: only the opposite call undoes it. */
export interface Call {
  /** Aborted when the driver stops and its grace is over. */
  signal: AbortSignal
  log: Logger
}

type Answer<T> = Promise<T> | T

export interface NodeInfo {
  /** As the controller's publish gets it; at most 256 bytes. */
  nodeId: string
  /** Default 0: no limit. */
  maxVolumes?: number
  /** For instance `{ 'topology.example.com/zone': 'a' }`. */
  topology?: StringMap
}

export interface StageRequest {
  volumeId: string
  /** A folder that is there. */
  stagingPath: string
  capability: VolumeCapability
  publishContext: StringMap
  volumeContext: StringMap
  secrets: StringMap
}

export interface PublishRequest extends Omit<StageRequest, 'stagingPath'> {
  /** Absent when the driver does not stage. */
  stagingPath: string | undefined
  /** The driver makes it; the folder that it is in is there. */
  targetPath: string
  readOnly: boolean
}

export interface VolumeUsage {
  unit: 'BYTES' | 'INODES'
  total: number
  available: number
  used: number
}

export interface VolumeCondition {
  abnormal: boolean
  message: string
}

export interface NodeExpandRequest {
  volumeId: string
  volumePath: string
  stagingPath: string | undefined
  range: CapacityRange
  capability: VolumeCapability | undefined
  secrets: StringMap
}

/** What a driver does on the node. A function that is not there is a capability that the driver does not claim. */
export interface NodeFunctions {
  info(call: Call): Answer<NodeInfo>
  /** Once per volume and node, before `publish`; comes with `unstage`. The same again is fine. */
  stage?(request: StageRequest, call: Call): Answer<void>
  /** Fine when nothing is staged. */
  unstage?(request: { volumeId: string; stagingPath: string }, call: Call): Answer<void>
  /** Makes the target and mounts the volume there. The same again is fine. */
  publish(request: PublishRequest, call: Call): Answer<void>
  /** Unmounts and removes the target. Fine when it is not there. */
  unpublish(request: { volumeId: string; targetPath: string }, call: Call): Answer<void>
  stats?(
    request: { volumeId: string; volumePath: string; stagingPath: string | undefined },
    call: Call,
  ): Answer<{ usage: readonly VolumeUsage[]; condition?: VolumeCondition }>
  /** Gives the size that it has now. */
  expand?(request: NodeExpandRequest, call: Call): Answer<{ capacityBytes: number }>
  /** `stats` has a `condition`; default false. */
  reportsCondition?: boolean
  /** SINGLE_NODE_SINGLE_WRITER and SINGLE_NODE_MULTI_WRITER are told apart; default false. */
  multiWriter?: boolean
  /** `volumeMountGroup` is seen to, instead of by the kubelet; default false. */
  mountGroup?: boolean
}

export interface ContentSource {
  kind: 'snapshot' | 'volume'
  id: string
}

export interface Volume {
  volumeId: string
  /** Default 0: not known. */
  capacityBytes?: number
  volumeContext?: StringMap
  contentSource?: ContentSource
  /** Where it can be used; default: everywhere. */
  topology?: readonly StringMap[]
}

export interface VolumeStatus {
  publishedNodeIds?: readonly string[]
  condition?: VolumeCondition
}

export interface Snapshot {
  snapshotId: string
  sourceVolumeId: string
  sizeBytes: number
  createdAt: Date
  isReady: boolean
}

export interface Topology {
  requisite: readonly StringMap[]
  preferred: readonly StringMap[]
}

export interface CreateVolumeRequest {
  /** The same name again asks for the same volume. */
  name: string
  range: CapacityRange
  /** At least one. */
  capabilities: readonly VolumeCapability[]
  parameters: StringMap
  mutableParameters: StringMap
  secrets: StringMap
  contentSource: ContentSource | undefined
  topology: Topology | undefined
}

export interface ListRequest {
  /** Default: all. */
  maxEntries: number | undefined
  /** `nextToken` of the page before. One that is not known is ABORTED. */
  startingToken: string
}

/** What a driver does for the cluster. Functions that are not there are capabilities that it does not claim. */
export interface ControllerFunctions {
  create?(request: CreateVolumeRequest, call: Call): Answer<Volume>
  /** Fine when there is no such volume. Comes with `create`. */
  delete?(request: { volumeId: string; secrets: StringMap }, call: Call): Answer<void>
  /** Rejected with NOT_FOUND for an unknown volume; why it cannot be used so, or undefined. */
  validate(
    request: {
      volumeId: string
      capabilities: readonly VolumeCapability[]
      volumeContext: StringMap
      parameters: StringMap
    },
    call: Call,
  ): Answer<string | undefined>
  publish?(
    request: {
      volumeId: string
      nodeId: string
      capability: VolumeCapability
      readOnly: boolean
      volumeContext: StringMap
      secrets: StringMap
    },
    call: Call,
  ): Answer<StringMap>
  /** From all nodes without `nodeId`. Fine when it is not published. Comes with `publish`. */
  unpublish?(request: { volumeId: string; nodeId: string | undefined; secrets: StringMap }, call: Call): Answer<void>
  list?(
    request: ListRequest,
    call: Call,
  ): Answer<{ entries: readonly { volume: Volume; status?: VolumeStatus }[]; nextToken?: string }>
  get?(request: { volumeId: string }, call: Call): Answer<{ volume: Volume; status?: VolumeStatus }>
  capacity?(
    request: { capabilities: readonly VolumeCapability[]; parameters: StringMap; topology: StringMap | undefined },
    call: Call,
  ): Answer<{ availableBytes: number; maximumVolumeBytes?: number; minimumVolumeBytes?: number }>
  expand?(
    request: {
      volumeId: string
      range: CapacityRange
      capability: VolumeCapability | undefined
      secrets: StringMap
    },
    call: Call,
  ): Answer<{ capacityBytes: number; nodeExpansionRequired: boolean }>
  createSnapshot?(
    request: { name: string; sourceVolumeId: string; parameters: StringMap; secrets: StringMap },
    call: Call,
  ): Answer<Snapshot>
  /** Fine when there is no such snapshot. Comes with `createSnapshot`. */
  deleteSnapshot?(request: { snapshotId: string; secrets: StringMap }, call: Call): Answer<void>
  listSnapshots?(
    request: ListRequest & { sourceVolumeId: string; snapshotId: string; secrets: StringMap },
    call: Call,
  ): Answer<{ entries: readonly Snapshot[]; nextToken?: string }>
  getSnapshot?(request: { snapshotId: string; secrets: StringMap }, call: Call): Answer<Snapshot>
  modify?(request: { volumeId: string; mutableParameters: StringMap; secrets: StringMap }, call: Call): Answer<void>
  /** `create` takes a volume as its source; default false. */
  clones?: boolean
  /** `list` and `get` say where volumes are published; default false. */
  listsPublishedNodes?: boolean
  /** `publish` obeys `readOnly`; default false. */
  publishesReadOnly?: boolean
  /** `list` and `get` have a `condition`; default false. */
  reportsCondition?: boolean
  multiWriter?: boolean
}

export interface IdentityFunctions {
  /** False while it starts. Rejected with FAILED_PRECONDITION when it cannot work. Default: always ready. */
  ready?(call: Call): Answer<boolean>
  /** Told by GetPluginInfo. */
  manifest?: StringMap
}
