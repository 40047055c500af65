// One CSI driver, as the kubelet calls its node service.
import {
  capabilitiesOf,
  capacityOf,
  type NodeCapabilities,
  type NodeInfo,
  nodeInfoOf,
  statsOf,
  type VolumeStats,
} from './answers.ts'
import { callDriver, type Caller, type Method } from './call.ts'
import { driverNotFound } from './csi-error.ts'
import {
  expandMessage,
  type ExpandRequest,
  type ForMigrated,
  publishMessage,
  type PublishRequest,
  stageMessage,
  type StageRequest,
  statsMessage,
  type StatsRequest,
  unpublishMessage,
  type UnpublishRequest,
  unstageMessage,
  type UnstageRequest,
  type Wire,
} from './requests.ts'
import { type Confidential, hideSecrets } from './secrets.ts'

/**
 * A registered driver. Each call has two minutes, and throws a `CsiError`, or the reason of its signal: what the driver began it may
 * well finish then. Calls of an object whose driver is deregistered fail as transient; those under way go on.
 */
export interface CsiDriver {
  readonly name: string
  /** Its socket. */
  readonly endpoint: string
  /** Of CSI, the highest that it serves: `1.11.0`. */
  readonly version: string
  /** NodeGetCapabilities */
  capabilities(signal: AbortSignal): Promise<NodeCapabilities>
  /** NodeGetInfo */
  nodeInfo(signal: AbortSignal): Promise<NodeInfo>
  /** NodeStageVolume */
  stage(request: StageRequest, signal: AbortSignal): Promise<void>
  /** NodeUnstageVolume */
  unstage(request: UnstageRequest, signal: AbortSignal): Promise<void>
  /** NodePublishVolume */
  publish(request: PublishRequest, signal: AbortSignal): Promise<void>
  /** NodeUnpublishVolume */
  unpublish(request: UnpublishRequest, signal: AbortSignal): Promise<void>
  /** NodeGetVolumeStats */
  stats(request: StatsRequest, signal: AbortSignal): Promise<VolumeStats>
  /** NodeExpandVolume: the volume's bytes after it; undefined when the driver does not say. */
  expand(request: ExpandRequest, signal: AbortSignal): Promise<number | undefined>
}

/** @param isRegistered whether the driver is still there to be asked */
export function openDriver(wire: Wire, caller: Caller, version: string, isRegistered: () => boolean): CsiDriver {
  const { NodeService: service } = wire
  const name = caller.driver
  const ask = async <Request extends object, Response>(
    method: Method<Request, Response>,
    request: Request,
    signal: AbortSignal,
    { migrated = false }: ForMigrated = {},
  ): Promise<Response> => {
    signal.throwIfAborted()
    if (!isRegistered()) throw driverNotFound(name)
    return callDriver(caller, method, request, hideSecrets(request as Confidential), migrated, signal)
  }
  return {
    name,
    endpoint: caller.endpoint,
    version,
    async capabilities(signal) {
      const answer = await ask(service.nodeGetCapabilities, {}, signal)
      return capabilitiesOf(answer, wire.NodeServiceCapability_RPC_Type)
    },
    async nodeInfo(signal) {
      return nodeInfoOf(await ask(service.nodeGetInfo, {}, signal), name, caller.log)
    },
    async stage(request, signal) {
      await ask(service.nodeStageVolume, stageMessage(wire, request), signal, request)
    },
    async unstage(request, signal) {
      await ask(service.nodeUnstageVolume, unstageMessage(request), signal)
    },
    async publish(request, signal) {
      await ask(service.nodePublishVolume, publishMessage(wire, request), signal, request)
    },
    async unpublish(request, signal) {
      await ask(service.nodeUnpublishVolume, unpublishMessage(request), signal)
    },
    async stats(request, signal) {
      return statsOf(await ask(service.nodeGetVolumeStats, statsMessage(request), signal))
    },
    async expand(request, signal) {
      return capacityOf(await ask(service.nodeExpandVolume, expandMessage(wire, request), signal, request))
    },
  }
}
