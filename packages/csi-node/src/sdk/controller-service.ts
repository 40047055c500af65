// The functions of a driver's controller side → its gRPC service.
import {
  ControllerGetCapabilitiesResponse,
  ControllerGetVolumeResponse,
  type ControllerServer,
  ControllerServiceCapability_RPC_Type as Rpc,
  CreateVolumeResponse,
  GetCapacityResponse,
  ListSnapshotsResponse,
  ListVolumesResponse,
  Snapshot as WireSnapshot,
  ValidateVolumeCapabilitiesResponse,
} from '../gen/csi.ts'
import { amount } from './amount.ts'
import { type Context, handler, volumeKeys } from './serve-call.ts'
import type { ControllerFunctions, Snapshot, Volume, VolumeStatus } from './types.ts'
import * as valid from './validate.ts'

/** What a driver claims by the functions that it has. */
export function controllerCapabilities(controller: ControllerFunctions): Rpc[] {
  const claims: [Rpc, unknown][] = [
    [Rpc.CREATE_DELETE_VOLUME, controller.create],
    [Rpc.PUBLISH_UNPUBLISH_VOLUME, controller.publish],
    [Rpc.LIST_VOLUMES, controller.list],
    [Rpc.GET_CAPACITY, controller.capacity],
    [Rpc.CREATE_DELETE_SNAPSHOT, controller.createSnapshot],
    [Rpc.LIST_SNAPSHOTS, controller.listSnapshots],
    [Rpc.CLONE_VOLUME, controller.clones],
    [Rpc.PUBLISH_READONLY, controller.publishesReadOnly],
    [Rpc.EXPAND_VOLUME, controller.expand],
    [Rpc.LIST_VOLUMES_PUBLISHED_NODES, controller.listsPublishedNodes],
    [Rpc.VOLUME_CONDITION, controller.reportsCondition],
    [Rpc.GET_VOLUME, controller.get],
    [Rpc.SINGLE_NODE_MULTI_WRITER, controller.multiWriter],
    [Rpc.MODIFY_VOLUME, controller.modify],
    [Rpc.GET_SNAPSHOT, controller.getSnapshot],
  ]
  return claims.flatMap(([type, claimed]) => (claimed ? [type] : []))
}

const wireVolume = ({ volumeId, capacityBytes = 0, volumeContext = {}, contentSource, topology = [] }: Volume) => ({
  volumeId,
  capacityBytes: amount('capacityBytes', capacityBytes),
  volumeContext,
  contentSource:
    contentSource &&
    (contentSource.kind === 'snapshot'
      ? { snapshot: { snapshotId: contentSource.id } }
      : { volume: { volumeId: contentSource.id } }),
  accessibleTopology: topology.map((segments) => ({ segments })),
})

const wireStatus = ({ publishedNodeIds = [], condition }: VolumeStatus = {}) => ({
  publishedNodeIds: [...publishedNodeIds],
  volumeCondition: condition,
})

const wireSnapshot = ({ snapshotId, sourceVolumeId, sizeBytes, createdAt, isReady }: Snapshot): WireSnapshot =>
  WireSnapshot.fromPartial({
    snapshotId,
    sourceVolumeId,
    sizeBytes: amount('sizeBytes', sizeBytes),
    creationTime: createdAt,
    readyToUse: isReady,
  })

const none = () => ({})

/** The part that concerns volumes. */
function volumeHandlers(controller: ControllerFunctions, context: Context) {
  return {
    createVolume: handler(context, {
      rpc: 'CreateVolume',
      run: controller.create,
      parse: (request: Parameters<ControllerServer['createVolume']>[0]['request']) => ({
        name: valid.required('name', request.name),
        range: valid.range(request.capacityRange),
        capabilities: valid.capabilities('volume_capabilities', request.volumeCapabilities, 'some'),
        parameters: valid.map('parameters', request.parameters),
        mutableParameters: valid.map('mutable_parameters', request.mutableParameters),
        secrets: valid.secrets(request.secrets),
        contentSource: valid.contentSource(request.volumeContentSource),
        topology: valid.topology(request.accessibilityRequirements),
      }),
      // What is copied must not change meanwhile: it may be on its way to a pod, or back.
      keys: ({ name, contentSource }) => [
        `volume name ${name}`,
        ...(contentSource?.kind === 'volume' ? [`volume ${contentSource.id}`] : []),
      ],
      shared: ({ contentSource }) => (contentSource?.kind === 'snapshot' ? [`snapshot ${contentSource.id}`] : []),
      respond: (volume) => CreateVolumeResponse.fromPartial({ volume: wireVolume(volume) }),
    }),
    deleteVolume: handler(context, {
      rpc: 'DeleteVolume',
      run: controller.delete,
      parse: (request: Parameters<ControllerServer['deleteVolume']>[0]['request']) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    validateVolumeCapabilities: handler(context, {
      rpc: 'ValidateVolumeCapabilities',
      run: async (request, call) => controller.validate(request, call),
      parse: (request: Parameters<ControllerServer['validateVolumeCapabilities']>[0]['request']) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        capabilities: valid.capabilities('volume_capabilities', request.volumeCapabilities, 'some'),
        volumeContext: valid.map('volume_context', request.volumeContext),
        parameters: valid.map('parameters', request.parameters),
        confirmed: request,
      }),
      respond: (against, { confirmed }) =>
        ValidateVolumeCapabilitiesResponse.fromPartial(
          against === undefined
            ? {
                confirmed: {
                  volumeContext: confirmed.volumeContext,
                  volumeCapabilities: confirmed.volumeCapabilities,
                  parameters: confirmed.parameters,
                },
              }
            : { message: against },
        ),
    }),
    listVolumes: handler(context, {
      rpc: 'ListVolumes',
      run: controller.list,
      parse: (request: Parameters<ControllerServer['listVolumes']>[0]['request']) => ({
        maxEntries: valid.maxEntries(request.maxEntries),
        startingToken: valid.text('starting_token', request.startingToken),
      }),
      respond: ({ entries, nextToken = '' }) =>
        ListVolumesResponse.fromPartial({
          entries: entries.map(({ volume, status }) => ({ volume: wireVolume(volume), status: wireStatus(status) })),
          nextToken,
        }),
    }),
    controllerGetVolume: handler(context, {
      rpc: 'ControllerGetVolume',
      run: controller.get,
      parse: (request: Parameters<ControllerServer['controllerGetVolume']>[0]['request']) => ({
        volumeId: valid.required('volume_id', request.volumeId),
      }),
      respond: ({ volume, status }) =>
        ControllerGetVolumeResponse.fromPartial({ volume: wireVolume(volume), status: wireStatus(status) }),
    }),
    controllerModifyVolume: handler(context, {
      rpc: 'ControllerModifyVolume',
      run: controller.modify,
      parse: (request: Parameters<ControllerServer['controllerModifyVolume']>[0]['request']) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        mutableParameters: valid.map('mutable_parameters', request.mutableParameters),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    getCapacity: handler(context, {
      rpc: 'GetCapacity',
      run: controller.capacity,
      parse: (request: Parameters<ControllerServer['getCapacity']>[0]['request']) => ({
        capabilities: valid.capabilities('volume_capabilities', request.volumeCapabilities, 'any'),
        parameters: valid.map('parameters', request.parameters),
        topology: request.accessibleTopology && valid.map('accessible_topology', request.accessibleTopology.segments),
      }),
      respond: ({ availableBytes, maximumVolumeBytes, minimumVolumeBytes }) =>
        GetCapacityResponse.fromPartial({
          availableCapacity: amount('availableBytes', availableBytes),
          maximumVolumeSize:
            maximumVolumeBytes === undefined ? undefined : amount('maximumVolumeBytes', maximumVolumeBytes),
          minimumVolumeSize:
            minimumVolumeBytes === undefined ? undefined : amount('minimumVolumeBytes', minimumVolumeBytes),
        }),
    }),
    controllerExpandVolume: handler(context, {
      rpc: 'ControllerExpandVolume',
      run: controller.expand,
      parse: (request: Parameters<ControllerServer['controllerExpandVolume']>[0]['request']) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        range: valid.wantedRange(request.capacityRange),
        capability: valid.optionalCapability('volume_capability', request.volumeCapability),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: ({ capacityBytes, nodeExpansionRequired }) => ({
        capacityBytes: amount('capacityBytes', capacityBytes),
        nodeExpansionRequired,
      }),
    }),
  }
}

export function controllerService(controller: ControllerFunctions, context: Context): ControllerServer {
  return {
    ...volumeHandlers(controller, context),
    controllerPublishVolume: handler(context, {
      rpc: 'ControllerPublishVolume',
      run: controller.publish,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        nodeId: valid.nodeId('node_id', request.nodeId),
        capability: valid.capability('volume_capability', request.volumeCapability),
        readOnly: request.readonly,
        volumeContext: valid.map('volume_context', request.volumeContext),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: (publishContext) => ({ publishContext: { ...publishContext } }),
    }),
    controllerUnpublishVolume: handler(context, {
      rpc: 'ControllerUnpublishVolume',
      run: controller.unpublish,
      parse: (request) => ({
        volumeId: valid.required('volume_id', request.volumeId),
        nodeId: request.nodeId === '' ? undefined : valid.nodeId('node_id', request.nodeId),
        secrets: valid.secrets(request.secrets),
      }),
      keys: volumeKeys,
      respond: none,
    }),
    controllerGetCapabilities: (_call, reply) =>
      reply(
        null,
        ControllerGetCapabilitiesResponse.fromPartial({
          capabilities: controllerCapabilities(controller).map((type) => ({ rpc: { type } })),
        }),
      ),
    createSnapshot: handler(context, {
      rpc: 'CreateSnapshot',
      run: controller.createSnapshot,
      parse: (request) => ({
        name: valid.required('name', request.name),
        sourceVolumeId: valid.required('source_volume_id', request.sourceVolumeId),
        parameters: valid.map('parameters', request.parameters),
        secrets: valid.secrets(request.secrets),
      }),
      keys: ({ name, sourceVolumeId }) => [`snapshot name ${name}`, `volume ${sourceVolumeId}`],
      respond: (snapshot) => ({ snapshot: wireSnapshot(snapshot) }),
    }),
    deleteSnapshot: handler(context, {
      rpc: 'DeleteSnapshot',
      run: controller.deleteSnapshot,
      parse: (request) => ({
        snapshotId: valid.required('snapshot_id', request.snapshotId),
        secrets: valid.secrets(request.secrets),
      }),
      keys: ({ snapshotId }) => [`snapshot ${snapshotId}`],
      respond: none,
    }),
    listSnapshots: handler(context, {
      rpc: 'ListSnapshots',
      run: controller.listSnapshots,
      parse: (request) => ({
        maxEntries: valid.maxEntries(request.maxEntries),
        startingToken: valid.text('starting_token', request.startingToken),
        sourceVolumeId: valid.text('source_volume_id', request.sourceVolumeId),
        snapshotId: valid.text('snapshot_id', request.snapshotId),
        secrets: valid.secrets(request.secrets),
      }),
      respond: ({ entries, nextToken = '' }) =>
        ListSnapshotsResponse.fromPartial({
          entries: entries.map((snapshot) => ({ snapshot: wireSnapshot(snapshot) })),
          nextToken,
        }),
    }),
    getSnapshot: handler(context, {
      rpc: 'GetSnapshot',
      run: controller.getSnapshot,
      parse: (request) => ({
        snapshotId: valid.required('snapshot_id', request.snapshotId),
        secrets: valid.secrets(request.secrets),
      }),
      respond: (snapshot) => ({ snapshot: wireSnapshot(snapshot) }),
    }),
  }
}
