// The functions of a driver's node side → its gRPC service.
import {
  NodeGetCapabilitiesResponse,
  NodeGetInfoResponse,
  NodeGetVolumeStatsResponse,
  type NodeServer,
  NodeServiceCapability_RPC_Type as Rpc,
  VolumeUsage_Unit as Unit,
} from '../gen/csi.ts'
import { amount } from './amount.ts'
import { type Context, handler, volumeKeys } from './serve-call.ts'
import type { NodeFunctions } from './types.ts'
import * as valid from './validate.ts'

/** What a driver claims by the functions that it has. */
export function nodeCapabilities(node: NodeFunctions): Rpc[] {
  const claims: [Rpc, unknown][] = [
    [Rpc.STAGE_UNSTAGE_VOLUME, node.stage],
    [Rpc.GET_VOLUME_STATS, node.stats],
    [Rpc.EXPAND_VOLUME, node.expand],
    [Rpc.VOLUME_CONDITION, node.reportsCondition],
    [Rpc.SINGLE_NODE_MULTI_WRITER, node.multiWriter],
    [Rpc.VOLUME_MOUNT_GROUP, node.mountGroup],
  ]
  return claims.flatMap(([type, claimed]) => (claimed ? [type] : []))
}

export function nodeService(node: NodeFunctions, context: Context): NodeServer {
  const stages = node.stage !== undefined
  const none = () => ({})
  return {
    nodeStageVolume: handler(context, {
      rpc: 'NodeStageVolume',
      run: node.stage,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        stagingPath: valid.path('staging_target_path', request.stagingTargetPath),
        capability: valid.capability('volume_capability', request.volumeCapability),
        publishContext: valid.map('publish_context', request.publishContext),
        volumeContext: valid.map('volume_context', request.volumeContext),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    nodeUnstageVolume: handler(context, {
      rpc: 'NodeUnstageVolume',
      run: node.unstage,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        stagingPath: valid.path('staging_target_path', request.stagingTargetPath),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    nodePublishVolume: handler(context, {
      rpc: 'NodePublishVolume',
      run: node.publish,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        targetPath: valid.path('target_path', request.targetPath),
        // Inline volumes come without: whether it must be there is the driver's to say.
        stagingPath: stages ? valid.optionalPath('staging_target_path', request.stagingTargetPath) : undefined,
        capability: valid.capability('volume_capability', request.volumeCapability),
        readOnly: request.readonly,
        publishContext: valid.map('publish_context', request.publishContext),
        volumeContext: valid.map('volume_context', request.volumeContext),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    nodeUnpublishVolume: handler(context, {
      rpc: 'NodeUnpublishVolume',
      run: node.unpublish,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        targetPath: valid.path('target_path', request.targetPath),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    nodeGetVolumeStats: handler(context, {
      rpc: 'NodeGetVolumeStats',
      run: node.stats,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        volumePath: valid.volumePath('volume_path', request.volumePath),
        stagingPath: valid.optionalPath('staging_target_path', request.stagingTargetPath),
      }),
      respond: ({ usage, condition }) =>
        NodeGetVolumeStatsResponse.fromPartial({
          usage: usage.map(({ unit, total, available, used }) => ({
            unit: Unit[unit],
            total: amount('total', total),
            available: amount('available', available),
            used: amount('used', used),
          })),
          volumeCondition: condition,
        }),
    }),
    nodeExpandVolume: handler(context, {
      rpc: 'NodeExpandVolume',
      run: node.expand,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        volumePath: valid.volumePath('volume_path', request.volumePath),
        stagingPath: valid.optionalPath('staging_target_path', request.stagingTargetPath),
        range: valid.range(request.capacityRange),
        capability: valid.optionalCapability('volume_capability', request.volumeCapability),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: ({ capacityBytes }) => ({ capacityBytes: amount('capacityBytes', capacityBytes) }),
    }),
    nodeGetCapabilities: (_call, reply) =>
      reply(
        null,
        NodeGetCapabilitiesResponse.fromPartial({
          capabilities: nodeCapabilities(node).map((type) => ({ rpc: { type } })),
        }),
      ),
    nodeGetInfo: handler(context, {
      rpc: 'NodeGetInfo',
      run: async (_none: object, call) => node.info(call),
      parse: none,
      respond: ({ nodeId, maxVolumes = 0, topology }) =>
        NodeGetInfoResponse.fromPartial({
          nodeId: valid.nodeId('node_id', nodeId),
          maxVolumesPerNode: amount('maxVolumes', maxVolumes),
          accessibleTopology: topology && { segments: topology },
        }),
    }),
  }
}
