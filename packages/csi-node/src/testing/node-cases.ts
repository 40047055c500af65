// Volumes staged, published, measured and grown on the node.
import { equal, ok } from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isMounted } from '../sdk/mounting.ts'
import {
  ControllerService,
  NodeService,
  type Volume,
  type VolumeCapability,
  VolumeCapability_AccessMode_Mode as Mode,
} from '../gen/csi.ts'
import { type Cases, type Session, unique } from './subject.ts'

const { nodeStageVolume, nodeUnstageVolume, nodePublishVolume, nodeUnpublishVolume } = NodeService
const { nodeGetVolumeStats, nodeExpandVolume } = NodeService

const nothing = (): Volume => ({
  volumeId: unique('nothing'),
  capacityBytes: 0n,
  volumeContext: {},
  contentSource: undefined,
  accessibleTopology: [],
})

const withMode = (session: Session, mode: Mode): VolumeCapability => ({ ...session.capability, accessMode: { mode } })

async function statsOf(session: Session, volumeId: string, volumePath: string) {
  return session.call(nodeGetVolumeStats, { volumeId, volumePath, stagingTargetPath: '' })
}

const growth = (session: Session, volumeId: string, volumePath: string, stagingTargetPath: string) => ({
  volumeId,
  volumePath,
  stagingTargetPath,
  capacityRange: { requiredBytes: BigInt(2 * (session.subject.sizeBytes ?? 10 * 2 ** 20)), limitBytes: 0n },
  volumeCapability: session.capability,
  secrets: session.secrets,
})

export const nodeCases: Cases = {
  'NodeStageVolume: what is missing is INVALID_ARGUMENT': async (session) => {
    await session.needs('node STAGE_UNSTAGE_VOLUME')
    const request = session.stageRequest(nothing(), join(session.subject.folder, 'staging'))
    await session.refuses('INVALID_ARGUMENT', nodeStageVolume, { ...request, volumeId: '' })
    await session.refuses('INVALID_ARGUMENT', nodeStageVolume, { ...request, stagingTargetPath: '' })
    await session.refuses('INVALID_ARGUMENT', nodeStageVolume, { ...request, volumeCapability: undefined })
  },
  'NodeStageVolume and NodePublishVolume: again they are fine, and the pod can write': async (session) => {
    const volume = await session.volume()
    const staging = await session.stage(volume)
    if (staging !== '') await session.call(nodeStageVolume, session.stageRequest(volume, staging))
    const target = await session.publish(volume, staging)
    await session.call(nodePublishVolume, session.publishRequest(volume, staging, target))
    if (session.subject.isBlock) ok((await stat(target)).isBlockDevice(), `${target} is no block device`)
    else await writeFile(join(target, 'file'), 'text')
  },
  'NodeUnstageVolume: what is missing is INVALID_ARGUMENT; what is not staged is fine': async (session) => {
    await session.needs('node STAGE_UNSTAGE_VOLUME')
    const stagingTargetPath = await session.folder('staging')
    await session.refuses('INVALID_ARGUMENT', nodeUnstageVolume, { volumeId: '', stagingTargetPath })
    const { volumeId } = await session.volume()
    await session.refuses('INVALID_ARGUMENT', nodeUnstageVolume, { volumeId, stagingTargetPath: '' })
    await session.call(nodeUnstageVolume, { volumeId, stagingTargetPath })
    // Nor is it where another volume is.
    const others = await session.stage(await session.volume())
    await session.call(nodeUnstageVolume, { volumeId, stagingTargetPath: others })
    ok(session.subject.isBlock || (await isMounted(others)), `${others} is not staged any more`)
  },
  'NodePublishVolume: what is missing is INVALID_ARGUMENT, an unknown volume NOT_FOUND': async (session) => {
    const [staging, target] = [await session.folder('staging'), await session.folder('pod')]
    const request = session.publishRequest(nothing(), staging, join(target, 'mount'))
    await session.refuses('INVALID_ARGUMENT', nodePublishVolume, { ...request, volumeId: '' })
    await session.refuses('INVALID_ARGUMENT', nodePublishVolume, { ...request, targetPath: '' })
    await session.refuses('INVALID_ARGUMENT', nodePublishVolume, { ...request, volumeCapability: undefined })
    if (await session.has('CREATE_DELETE_VOLUME')) await session.refusesToPublish('NOT_FOUND', request)
  },
  'NodePublishVolume: before the volume is staged it is FAILED_PRECONDITION': async (session) => {
    await session.needs('node STAGE_UNSTAGE_VOLUME')
    const [staging, target] = [await session.folder('staging'), await session.folder('pod')]
    const request = session.publishRequest(await session.volume(), staging, join(target, 'mount'))
    await session.refusesToPublish('FAILED_PRECONDITION', request)
    ok(!existsSync(join(target, 'mount')) || !(await isMounted(join(target, 'mount'))), 'something is mounted')
  },
  'NodePublishVolume: read-only, the pod cannot write': async (session) => {
    const volume = await session.volume()
    const target = await session.publish(volume, await session.stage(volume), { readonly: true })
    const file = session.subject.isBlock ? target : join(target, 'file')
    const wrote = await writeFile(file, 'text', { flag: session.subject.isBlock ? 'r+' : 'w', flush: true }).then(
      () => true,
      () => false,
    )
    ok(!wrote, 'it was written to')
  },
  'NodePublishVolume: at the same target otherwise, it is ALREADY_EXISTS': async (session) => {
    const volume = await session.volume()
    const staging = await session.stage(volume)
    const target = await session.publish(volume, staging)
    const otherwise = session.publishRequest(volume, staging, target, { readonly: true })
    await session.refuses('ALREADY_EXISTS', nodePublishVolume, otherwise)
  },
  'NodePublishVolume: elsewhere too, for one writer it is FAILED_PRECONDITION': async (session) => {
    await session.needs('node SINGLE_NODE_MULTI_WRITER')
    const volume = await session.volume()
    const staging = await session.stage(volume)
    const volumeCapability = withMode(session, Mode.SINGLE_NODE_SINGLE_WRITER)
    await session.publish(volume, staging, { volumeCapability })
    const other = join(await session.folder('pod'), 'mount')
    const request = session.publishRequest(volume, staging, other, { volumeCapability })
    await session.refusesToPublish('FAILED_PRECONDITION', request)
  },
  'NodePublishVolume: elsewhere too, for several writers it is fine': async (session) => {
    await session.needs('node SINGLE_NODE_MULTI_WRITER')
    const volume = await session.volume()
    const staging = await session.stage(volume)
    const volumeCapability = withMode(session, Mode.SINGLE_NODE_MULTI_WRITER)
    await session.publish(volume, staging, { volumeCapability })
    await session.publish(volume, staging, { volumeCapability })
  },
  'NodeUnpublishVolume: what is missing is INVALID_ARGUMENT, an unknown volume NOT_FOUND': async (session) => {
    const targetPath = join(session.subject.folder, unique('nothing'))
    await session.refuses('INVALID_ARGUMENT', nodeUnpublishVolume, { volumeId: '', targetPath })
    await session.refuses('INVALID_ARGUMENT', nodeUnpublishVolume, { volumeId: 'v', targetPath: '' })
    if (!(await session.has('CREATE_DELETE_VOLUME'))) return
    await session.refuses('NOT_FOUND', nodeUnpublishVolume, { volumeId: unique('nothing'), targetPath })
  },
  'NodeUnpublishVolume: the target is gone, and again it is fine': async (session) => {
    const volume = await session.volume()
    const targetPath = await session.publish(volume, await session.stage(volume))
    await session.call(nodeUnpublishVolume, { volumeId: volume.volumeId, targetPath })
    ok(!existsSync(targetPath), `${targetPath} is still there`)
    await session.call(nodeUnpublishVolume, { volumeId: volume.volumeId, targetPath })
  },
  'NodeGetVolumeStats: how full it is, where it is published': async (session) => {
    await session.needs('node GET_VOLUME_STATS')
    const volume = await session.volume()
    const target = await session.publish(volume, await session.stage(volume))
    const { usage } = await statsOf(session, volume.volumeId, target)
    ok(usage.length > 0, 'usage is empty')
    for (const { total, available, used } of usage) ok(total >= 0n && available >= 0n && used >= 0n)
  },
  'NodeGetVolumeStats: what is missing is INVALID_ARGUMENT, what is not there NOT_FOUND': async (session) => {
    await session.needs('node GET_VOLUME_STATS')
    const { volumeId } = await session.volume()
    const request = { volumeId, volumePath: join(session.subject.folder, 'nothing'), stagingTargetPath: '' }
    await session.refuses('INVALID_ARGUMENT', nodeGetVolumeStats, { ...request, volumeId: '' })
    await session.refuses('INVALID_ARGUMENT', nodeGetVolumeStats, { ...request, volumePath: '' })
    await session.refuses('NOT_FOUND', nodeGetVolumeStats, request)
    await session.refuses('NOT_FOUND', nodeGetVolumeStats, { ...request, volumeId: unique('nothing') })
    // As csi-sanity asks: no volume is at a path that is not absolute.
    await session.refuses('NOT_FOUND', nodeGetVolumeStats, { ...request, volumePath: 'some/path' })
  },
  'NodeExpandVolume: what is missing is INVALID_ARGUMENT, an unknown volume NOT_FOUND': async (session) => {
    await session.needs('node EXPAND_VOLUME')
    const request = growth(session, unique('nothing'), join(session.subject.folder, 'nothing'), '')
    await session.refuses('INVALID_ARGUMENT', nodeExpandVolume, { ...request, volumeId: '' })
    await session.refuses('INVALID_ARGUMENT', nodeExpandVolume, { ...request, volumePath: '' })
    await session.refuses('NOT_FOUND', nodeExpandVolume, request)
    await session.refuses('NOT_FOUND', nodeExpandVolume, { ...request, volumePath: 'some/path' })
  },
  'NodeExpandVolume: a published volume is as large as the controller made it, and again it is fine': async (
    session,
  ) => {
    await session.needs('node EXPAND_VOLUME', 'EXPAND_VOLUME')
    const { volumeId, ...volume } = await session.volume()
    const staging = await session.stage({ volumeId, ...volume })
    const target = await session.publish({ volumeId, ...volume }, staging)
    const { volumeCapability, capacityRange, secrets } = growth(session, volumeId, target, staging)
    const request = { volumeId, capacityRange, secrets, volumeCapability }
    await session.call(ControllerService.controllerExpandVolume, request)
    for (let time = 0; time < 2; time++) {
      const { capacityBytes } = await session.call(nodeExpandVolume, growth(session, volumeId, target, staging))
      equal(capacityBytes >= (capacityRange?.requiredBytes ?? 0n), true, `capacity_bytes ${capacityBytes}`)
    }
  },
}
