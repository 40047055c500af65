// Volumes made, found, grown and deleted.
import { deepEqual, equal, ok } from 'node:assert/strict'
import { ControllerService, NodeService, type Volume } from '../gen/csi.ts'
import { type Cases, type Session, unique } from './subject.ts'

const { createVolume, deleteVolume, validateVolumeCapabilities, listVolumes, controllerExpandVolume } =
  ControllerService
const { getCapacity, controllerGetVolume, controllerPublishVolume } = ControllerService

const validation = (session: Session, volumeId: string) => ({
  volumeId,
  volumeCapabilities: [session.capability],
  volumeContext: {},
  parameters: {},
  secrets: session.secrets,
  mutableParameters: {},
})

async function idsOf(session: Session, maxEntries = 0): Promise<string[]> {
  const ids: string[] = []
  let startingToken = ''
  do {
    const page = await session.call(listVolumes, { maxEntries, startingToken })
    ok(maxEntries === 0 || page.entries.length <= maxEntries, `a page of ${page.entries.length} entries`)
    ids.push(...page.entries.map(({ volume }) => volume?.volumeId ?? ''))
    startingToken = page.nextToken
  } while (startingToken !== '')
  return ids
}

const sizeOf = (session: Session): bigint => BigInt(session.subject.sizeBytes ?? 10 * 2 ** 20)

export const controllerCases: Cases = {
  'CreateVolume: a volume has an id and at least the size': async (session) => {
    const { volumeId, capacityBytes } = await session.volume()
    ok(volumeId !== '', 'volume_id is empty')
    ok(capacityBytes === 0n || capacityBytes >= sizeOf(session), `capacity_bytes ${capacityBytes}`)
  },
  'CreateVolume: without a name it is INVALID_ARGUMENT': async (session) => {
    await session.needs('CREATE_DELETE_VOLUME')
    await session.refuses('INVALID_ARGUMENT', createVolume, session.createRequest({ name: '' }))
  },
  'CreateVolume: without capabilities it is INVALID_ARGUMENT': async (session) => {
    await session.needs('CREATE_DELETE_VOLUME')
    await session.refuses('INVALID_ARGUMENT', createVolume, session.createRequest({ volumeCapabilities: [] }))
  },
  'CreateVolume: the same again is the same volume': async (session) => {
    const name = unique('same')
    const first = await session.volume({ name })
    deepEqual(await session.volume({ name }), first)
  },
  'CreateVolume: of the same name and another size it is ALREADY_EXISTS': async (session) => {
    const name = unique('other')
    const size = sizeOf(session)
    await session.volume({ name, capacityRange: { requiredBytes: size, limitBytes: size } })
    const larger = session.createRequest({ name, capacityRange: { requiredBytes: 2n * size, limitBytes: 2n * size } })
    await session.refuses('ALREADY_EXISTS', createVolume, larger)
  },
  'CreateVolume: a name of 128 bytes is taken': async (session) => {
    await session.volume({ name: unique('long').padEnd(128, 'x') })
  },
  'CreateVolume: a source that is not there is NOT_FOUND': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    const volumeContentSource = { snapshot: { snapshotId: unique('nothing') } }
    await session.refuses('NOT_FOUND', createVolume, session.createRequest({ volumeContentSource }))
    if (!(await session.has('CLONE_VOLUME'))) return
    const clone = { volumeContentSource: { volume: { volumeId: unique('nothing') } } }
    await session.refuses('NOT_FOUND', createVolume, session.createRequest(clone))
  },
  'DeleteVolume: without an id it is INVALID_ARGUMENT': async (session) => {
    await session.needs('CREATE_DELETE_VOLUME')
    await session.refuses('INVALID_ARGUMENT', deleteVolume, { volumeId: '', secrets: session.secrets })
  },
  'DeleteVolume: of a volume that is gone, or never was, it succeeds': async (session) => {
    const { volumeId } = await session.volume()
    const { secrets } = session
    await session.call(deleteVolume, { volumeId, secrets })
    await session.call(deleteVolume, { volumeId, secrets })
    await session.call(deleteVolume, { volumeId: unique('nothing'), secrets })
  },
  'ValidateVolumeCapabilities: those that a volume was made with are confirmed': async (session) => {
    const { volumeId } = await session.volume()
    const { confirmed } = await session.call(validateVolumeCapabilities, validation(session, volumeId))
    ok(confirmed, 'confirmed is missing')
    equal(confirmed.volumeCapabilities.length, 1)
  },
  'ValidateVolumeCapabilities: without an id or capabilities it is INVALID_ARGUMENT': async (session) => {
    await session.needs('controller')
    await session.refuses('INVALID_ARGUMENT', validateVolumeCapabilities, validation(session, ''))
    const none = { ...validation(session, unique('nothing')), volumeCapabilities: [] }
    await session.refuses('INVALID_ARGUMENT', validateVolumeCapabilities, none)
  },
  'ValidateVolumeCapabilities: an unknown volume is NOT_FOUND': async (session) => {
    await session.needs('controller')
    await session.refuses('NOT_FOUND', validateVolumeCapabilities, validation(session, unique('nothing')))
  },
  'ListVolumes: what is made is listed, in pages too, and no more when it is deleted': async (session) => {
    await session.needs('LIST_VOLUMES')
    const made = [await session.volume(), await session.volume(), await session.volume()].map(
      ({ volumeId }) => volumeId,
    )
    for (const maxEntries of [0, 2]) {
      const ids = await idsOf(session, maxEntries)
      for (const id of made) equal(ids.filter((each) => each === id).length, 1, `${id} is listed once`)
    }
    await session.call(deleteVolume, { volumeId: made[0] ?? '', secrets: session.secrets })
    ok(!(await idsOf(session)).includes(made[0] ?? ''), 'a deleted volume is listed')
  },
  'ListVolumes: a token that nobody gave is ABORTED': async (session) => {
    await session.needs('LIST_VOLUMES')
    await session.refuses('ABORTED', listVolumes, { maxEntries: 0, startingToken: 'invalid-token' })
  },
  'ControllerGetVolume: a volume by its id, NOT_FOUND for none': async (session) => {
    await session.needs('GET_VOLUME')
    const { volumeId } = await session.volume()
    equal((await session.call(controllerGetVolume, { volumeId })).volume?.volumeId, volumeId)
    await session.refuses('INVALID_ARGUMENT', controllerGetVolume, { volumeId: '' })
    await session.refuses('NOT_FOUND', controllerGetVolume, { volumeId: unique('nothing') })
  },
  'GetCapacity: not less than nothing': async (session) => {
    await session.needs('GET_CAPACITY')
    const { parameters = {} } = session.subject
    const request = { volumeCapabilities: [], parameters: { ...parameters }, accessibleTopology: undefined }
    ok((await session.call(getCapacity, request)).availableCapacity >= 0n)
  },
  'ControllerExpandVolume: a volume grows, and the same again is fine': async (session) => {
    await session.needs('EXPAND_VOLUME')
    const volume = await session.volume()
    const request = expansion(session, volume, 2n)
    for (let time = 0; time < 2; time++) {
      ok((await session.call(controllerExpandVolume, request)).capacityBytes >= 2n * sizeOf(session))
    }
  },
  'ControllerExpandVolume: without an id or a range it is INVALID_ARGUMENT, of no volume NOT_FOUND': async (
    session,
  ) => {
    await session.needs('EXPAND_VOLUME')
    const request = expansion(session, { volumeId: unique('nothing') }, 2n)
    await session.refuses('INVALID_ARGUMENT', controllerExpandVolume, { ...request, volumeId: '' })
    await session.refuses('INVALID_ARGUMENT', controllerExpandVolume, { ...request, capacityRange: undefined })
    await session.refuses('NOT_FOUND', controllerExpandVolume, request)
  },
  'ControllerPublishVolume: to a node, again, and back; what is missing is INVALID_ARGUMENT': async (session) => {
    await session.needs('PUBLISH_UNPUBLISH_VOLUME')
    const volume = await session.volume()
    deepEqual(await session.attach(volume), await session.attach(volume))
    const { volumeId, volumeContext } = volume
    const { capability: volumeCapability, secrets } = session
    const request = { volumeId, nodeId: unique('nothing'), volumeCapability, volumeContext, secrets, readonly: false }
    await session.refuses('NOT_FOUND', controllerPublishVolume, request)
    await session.refuses('INVALID_ARGUMENT', controllerPublishVolume, { ...request, volumeId: '' })
    await session.refuses('INVALID_ARGUMENT', controllerPublishVolume, { ...request, nodeId: '' })
    await session.refuses('INVALID_ARGUMENT', controllerPublishVolume, { ...request, volumeCapability: undefined })
    await session.refuses('NOT_FOUND', controllerPublishVolume, { ...request, volumeId: unique('nothing') })
    await session.refuses('INVALID_ARGUMENT', ControllerService.controllerUnpublishVolume, {
      volumeId: '',
      nodeId: '',
      secrets,
    })
  },
  'ControllerPublishVolume: read-only what is there for writing is ALREADY_EXISTS': async (session) => {
    await session.needs('PUBLISH_UNPUBLISH_VOLUME', 'PUBLISH_READONLY')
    const volume = await session.volume()
    await session.attach(volume)
    const { nodeId } = await session.call(NodeService.nodeGetInfo, {})
    const { volumeId, volumeContext } = volume
    const { capability: volumeCapability, secrets } = session
    const request = { volumeId, nodeId, volumeCapability, volumeContext, secrets, readonly: true }
    await session.refuses('ALREADY_EXISTS', controllerPublishVolume, request)
  },
}

const expansion = (session: Session, { volumeId }: Pick<Volume, 'volumeId'>, times: bigint) => ({
  volumeId,
  capacityRange: { requiredBytes: times * sizeOf(session), limitBytes: 0n },
  secrets: session.secrets,
  volumeCapability: session.capability,
})
