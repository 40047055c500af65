// The controller side of one CSI driver, as provisioners, attachers and resizers call it.
import { callDriver, type Caller, type CsiOperation, type Method } from '../driver/call.ts'
import { badAnswer } from '../driver/csi-error.ts'
import { capabilityMessage, rangeMessage, required, type VolumeCapability, type Wire } from '../driver/requests.ts'
import { type Confidential, hideSecrets } from '../driver/secrets.ts'
import { type Logger, silentLogger } from '../log.ts'

type StringMap = Readonly<Record<string, string>>

export interface CsiControllerOptions {
  /** Of the driver. */
  name: string
  /** The path of its socket. */
  endpoint: string
  /** Default: none. */
  log?: Logger
  /** Told of each call that has ended, for `csi_operations_seconds`. */
  observed?: (operation: CsiOperation) => void
  /** How long a driver may take for a call, in milliseconds. Default: 2 minutes. */
  timeoutMs?: number
}

/** What a driver can do for a cluster. */
export interface ControllerCapabilities {
  /** The driver has a controller service at all: CONTROLLER_SERVICE. */
  readonly controller: boolean
  /** Its volumes cannot be used everywhere: VOLUME_ACCESSIBILITY_CONSTRAINTS. */
  readonly topology: boolean
  /** CREATE_DELETE_VOLUME */
  readonly createDelete: boolean
  /** PUBLISH_UNPUBLISH_VOLUME */
  readonly publish: boolean
  /** PUBLISH_READONLY */
  readonly publishReadonly: boolean
  /** EXPAND_VOLUME */
  readonly expand: boolean
  /** CLONE_VOLUME */
  readonly clone: boolean
  /** SINGLE_NODE_MULTI_WRITER */
  readonly singleNodeMultiWriter: boolean
}

/** Where volumes may be: maps of topology segments. */
export interface TopologyRequirement {
  /** A volume is to be usable in one of them. */
  readonly requisite: readonly StringMap[]
  /** The best one first. */
  readonly preferred: readonly StringMap[]
}

export interface CreateVolumeRequest {
  /** The same name again asks for the same volume. */
  readonly name: string
  readonly requiredBytes: number
  /** Default: anything. */
  readonly limitBytes?: number | undefined
  /** At least one. */
  readonly capabilities: readonly VolumeCapability[]
  readonly parameters?: StringMap | undefined
  readonly topology?: TopologyRequirement | undefined
  /** The volume that it is to be a copy of. */
  readonly sourceVolumeId?: string | undefined
  /** In no error and no log. */
  readonly secrets?: StringMap | undefined
}

export interface CreatedVolume {
  readonly volumeId: string
  /** Undefined: the driver does not say. */
  readonly capacityBytes: number | undefined
  readonly volumeContext: StringMap
  /** Where it can be used; empty: everywhere, or the driver does not say. */
  readonly topology: readonly StringMap[]
  /** The volume that it is a copy of. */
  readonly sourceVolumeId: string | undefined
}

export interface ControllerPublishRequest {
  readonly volumeId: string
  /** As the driver's node service calls it. */
  readonly nodeId: string
  readonly capability: VolumeCapability
  /** Default: false. */
  readonly readonly?: boolean | undefined
  readonly volumeContext?: StringMap | undefined
  /** In no error and no log. */
  readonly secrets?: StringMap | undefined
}

export interface ControllerExpandRequest {
  readonly volumeId: string
  readonly requiredBytes: number
  readonly capability?: VolumeCapability | undefined
  /** In no error and no log. */
  readonly secrets?: StringMap | undefined
}

/**
 * Each call has a connection and two minutes of its own, and throws a `CsiError`, or the reason of its signal: what the driver began it
 * may well finish then.
 */
export interface CsiController {
  readonly name: string
  readonly endpoint: string
  /** GetPluginCapabilities and ControllerGetCapabilities */
  capabilities(signal: AbortSignal): Promise<ControllerCapabilities>
  /** CreateVolume */
  createVolume(request: CreateVolumeRequest, signal: AbortSignal): Promise<CreatedVolume>
  /** DeleteVolume. Fine when there is no such volume. */
  deleteVolume(request: { volumeId: string; secrets?: StringMap | undefined }, signal: AbortSignal): Promise<void>
  /** ControllerPublishVolume: the publish context, for the node's calls. */
  publishVolume(request: ControllerPublishRequest, signal: AbortSignal): Promise<StringMap>
  /** ControllerUnpublishVolume. Fine when it is not published. */
  unpublishVolume(
    request: { volumeId: string; nodeId: string; secrets?: StringMap | undefined },
    signal: AbortSignal,
  ): Promise<void>
  /** ControllerExpandVolume: the volume's bytes after it, and whether the node has work to do as well. */
  expandVolume(
    request: ControllerExpandRequest,
    signal: AbortSignal,
  ): Promise<{ capacityBytes: number; nodeExpansionRequired: boolean }>
}

const defaultTimeoutMs = 120_000

/** A driver at its socket, there or not: it is asked when a call is made. */
export function openController(options: CsiControllerOptions): CsiController {
  const { name, endpoint, log = silentLogger, observed = () => {}, timeoutMs = defaultTimeoutMs } = options
  const caller: Caller = { driver: name, endpoint, timeoutMs, observed, log }
  const ask = async <Request extends object, Response>(
    method: (wire: Wire) => Method<Request, Response>,
    request: (wire: Wire) => Request,
    signal: AbortSignal,
  ): Promise<Response> => {
    // Half a megabyte of code that a cluster without drivers does without.
    const wire = await import('../gen/csi.ts')
    const message = request(wire)
    return callDriver(caller, method(wire), message, hideSecrets(message as Confidential), false, signal)
  }
  return {
    name,
    endpoint,
    async capabilities(signal) {
      const plugin = await ask(
        ({ IdentityService }) => IdentityService.getPluginCapabilities,
        () => ({}),
        signal,
      )
      const wire = await import('../gen/csi.ts')
      const services = new Set(plugin.capabilities.map(({ service }) => service?.type))
      const hasController = services.has(wire.PluginCapability_Service_Type.CONTROLLER_SERVICE)
      const own = hasController
        ? await ask(
            ({ ControllerService }) => ControllerService.controllerGetCapabilities,
            () => ({}),
            signal,
          )
        : { capabilities: [] }
      const types = wire.ControllerServiceCapability_RPC_Type
      const all = new Set(own.capabilities.map(({ rpc }) => rpc?.type))
      return {
        controller: hasController,
        topology: services.has(wire.PluginCapability_Service_Type.VOLUME_ACCESSIBILITY_CONSTRAINTS),
        createDelete: all.has(types.CREATE_DELETE_VOLUME),
        publish: all.has(types.PUBLISH_UNPUBLISH_VOLUME),
        publishReadonly: all.has(types.PUBLISH_READONLY),
        expand: all.has(types.EXPAND_VOLUME),
        clone: all.has(types.CLONE_VOLUME),
        singleNodeMultiWriter: all.has(types.SINGLE_NODE_MULTI_WRITER),
      }
    },
    async createVolume(request, signal) {
      const { volume } = await ask(
        ({ ControllerService }) => ControllerService.createVolume,
        (wire) => ({
          name: required('name', request.name),
          capacityRange: rangeMessage(request),
          volumeCapabilities: request.capabilities.map((one) => capabilityMessage(wire, one)),
          parameters: { ...request.parameters },
          secrets: { ...request.secrets },
          mutableParameters: {},
          ...(request.sourceVolumeId !== undefined && {
            volumeContentSource: { volume: { volumeId: request.sourceVolumeId } },
          }),
          ...(request.topology && {
            accessibilityRequirements: {
              requisite: request.topology.requisite.map((segments) => ({ segments: { ...segments } })),
              preferred: request.topology.preferred.map((segments) => ({ segments: { ...segments } })),
            },
          }),
        }),
        signal,
      )
      if (!volume?.volumeId) throw badAnswer('CreateVolume', 'volume_id is empty')
      return {
        volumeId: volume.volumeId,
        capacityBytes: bytesOf('CreateVolume', volume.capacityBytes) || undefined,
        volumeContext: volume.volumeContext,
        topology: volume.accessibleTopology.map(({ segments }) => segments),
        sourceVolumeId: volume.contentSource?.volume?.volumeId,
      }
    },
    async deleteVolume({ volumeId, secrets }, signal) {
      await ask(
        ({ ControllerService }) => ControllerService.deleteVolume,
        () => ({ volumeId: required('volumeId', volumeId), secrets: { ...secrets } }),
        signal,
      )
    },
    async publishVolume(request, signal) {
      const { publishContext } = await ask(
        ({ ControllerService }) => ControllerService.controllerPublishVolume,
        (wire) => ({
          volumeId: required('volumeId', request.volumeId),
          nodeId: required('nodeId', request.nodeId),
          volumeCapability: capabilityMessage(wire, request.capability),
          readonly: request.readonly ?? false,
          volumeContext: { ...request.volumeContext },
          secrets: { ...request.secrets },
        }),
        signal,
      )
      return publishContext
    },
    async unpublishVolume({ volumeId, nodeId, secrets }, signal) {
      await ask(
        ({ ControllerService }) => ControllerService.controllerUnpublishVolume,
        () => ({
          volumeId: required('volumeId', volumeId),
          nodeId: required('nodeId', nodeId),
          secrets: { ...secrets },
        }),
        signal,
      )
    },
    async expandVolume(request, signal) {
      const { capacityBytes, nodeExpansionRequired } = await ask(
        ({ ControllerService }) => ControllerService.controllerExpandVolume,
        (wire) => ({
          volumeId: required('volumeId', request.volumeId),
          capacityRange: rangeMessage(request),
          secrets: { ...request.secrets },
          ...(request.capability && { volumeCapability: capabilityMessage(wire, request.capability) }),
        }),
        signal,
      )
      const bytes = bytesOf('ControllerExpandVolume', capacityBytes)
      if (bytes === 0 || bytes < request.requiredBytes) {
        throw badAnswer('ControllerExpandVolume', `capacity_bytes is ${bytes}: less than ${request.requiredBytes}`)
      }
      return { capacityBytes: bytes, nodeExpansionRequired }
    },
  }
}

/** @throws CsiError */
function bytesOf(rpc: string, amount: bigint): number {
  if (amount < 0n) throw badAnswer(rpc, `capacity_bytes is ${amount}: must not be negative`)
  return Number(amount)
}
