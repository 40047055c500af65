// Snapshots, and volumes of them and of each other.
import { deepEqual, equal, ok } from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ControllerService, type Snapshot } from '../gen/csi.ts'
import { type Cases, fail, type Session, unique } from './subject.ts'

const { createSnapshot, deleteSnapshot, listSnapshots } = ControllerService

async function snapshotOf(session: Session, sourceVolumeId: string, name = unique('snapshot')): Promise<Snapshot> {
  const { secrets } = session
  const { snapshot } = await session.call(createSnapshot, { sourceVolumeId, name, secrets, parameters: {} })
  if (!snapshot) return fail('CreateSnapshot: snapshot is missing')
  session.later(async () => session.call(deleteSnapshot, { snapshotId: snapshot.snapshotId, secrets }))
  return snapshot
}

const listing = (
  session: Session,
  changes: { snapshotId?: string; sourceVolumeId?: string; startingToken?: string; maxEntries?: number },
) => ({
  maxEntries: 0,
  startingToken: '',
  sourceVolumeId: '',
  snapshotId: '',
  secrets: session.secrets,
  ...changes,
})

async function idsOf(session: Session, changes: Parameters<typeof listing>[1]): Promise<string[]> {
  const { entries } = await session.call(listSnapshots, listing(session, changes))
  return entries.map(({ snapshot }) => snapshot?.snapshotId ?? '')
}

export const snapshotCases: Cases = {
  'CreateSnapshot: the same again is the same one; of another volume it is ALREADY_EXISTS': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    const [one, other] = [await session.volume(), await session.volume()]
    const name = unique('snapshot')
    const first = await snapshotOf(session, one.volumeId, name)
    ok(first.sourceVolumeId === one.volumeId && first.creationTime !== undefined)
    equal((await snapshotOf(session, one.volumeId, name)).snapshotId, first.snapshotId)
    const request = { sourceVolumeId: other.volumeId, name, secrets: session.secrets, parameters: {} }
    await session.refuses('ALREADY_EXISTS', createSnapshot, request)
  },
  'CreateSnapshot: a name of 128 bytes is taken': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    await snapshotOf(session, (await session.volume()).volumeId, unique('long').padEnd(128, 'x'))
  },
  'CreateSnapshot: of a volume that is not there it is NOT_FOUND': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    const request = { sourceVolumeId: unique('nothing'), name: unique('snapshot'), parameters: {} }
    await session.refuses('NOT_FOUND', createSnapshot, { ...request, secrets: session.secrets })
  },
  'CreateSnapshot: without a name or a source it is INVALID_ARGUMENT': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    const request = {
      sourceVolumeId: unique('nothing'),
      name: unique('snapshot'),
      secrets: session.secrets,
      parameters: {},
    }
    await session.refuses('INVALID_ARGUMENT', createSnapshot, { ...request, name: '' })
    await session.refuses('INVALID_ARGUMENT', createSnapshot, { ...request, sourceVolumeId: '' })
  },
  'DeleteSnapshot: without an id it is INVALID_ARGUMENT, of none it succeeds': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    await session.refuses('INVALID_ARGUMENT', deleteSnapshot, { snapshotId: '', secrets: session.secrets })
    await session.call(deleteSnapshot, { snapshotId: unique('nothing'), secrets: session.secrets })
  },
  'ListSnapshots: by id, by volume, and nothing for those that are not there': async (session) => {
    await session.needs('LIST_SNAPSHOTS', 'CREATE_DELETE_SNAPSHOT')
    const { volumeId } = await session.volume()
    const { snapshotId } = await snapshotOf(session, volumeId)
    ok((await idsOf(session, {})).includes(snapshotId))
    equal((await idsOf(session, { snapshotId })).join(), snapshotId)
    equal((await idsOf(session, { sourceVolumeId: volumeId })).join(), snapshotId)
    equal((await idsOf(session, { snapshotId: unique('nothing') })).length, 0)
    equal((await idsOf(session, { sourceVolumeId: unique('nothing') })).length, 0)
    await session.refuses('ABORTED', listSnapshots, listing(session, { startingToken: 'invalid-token' }))
  },
  'ListSnapshots: in pages; a token without a limit is all of the rest': async (session) => {
    await session.needs('LIST_SNAPSHOTS', 'CREATE_DELETE_SNAPSHOT')
    const { volumeId } = await session.volume()
    for (let made = 0; made < 3; made++) await snapshotOf(session, volumeId)
    const all = await idsOf(session, {})
    const { entries, nextToken } = await session.call(listSnapshots, listing(session, { maxEntries: 2 }))
    equal(entries.length, 2)
    const rest = await idsOf(session, { startingToken: nextToken })
    equal(rest.length, all.length - 2)
    deepEqual(new Set([...entries.map(({ snapshot }) => snapshot?.snapshotId), ...rest]), new Set(all))
  },
  'a volume of a snapshot has what the volume had then': async (session) => {
    await session.needs('CREATE_DELETE_SNAPSHOT')
    await restores(session, async (volumeId) => ({
      snapshot: { snapshotId: (await snapshotOf(session, volumeId)).snapshotId },
    }))
  },
  'a clone has what the volume had then': async (session) => {
    await session.needs('CLONE_VOLUME')
    await restores(session, async (volumeId) => ({ volume: { volumeId } }))
  },
}

/** Of a volume that is in use: written, copied, written again. */
async function restores(
  session: Session,
  copied: (volumeId: string) => Promise<{ snapshot: { snapshotId: string } } | { volume: { volumeId: string } }>,
): Promise<void> {
  const volume = await session.volume()
  const fileOf = (target: string): string => (session.subject.isBlock ? target : join(target, 'file'))
  const target = await session.publish(volume, await session.stage(volume))
  await writeFile(fileOf(target), 'then', { flush: true, flag: session.subject.isBlock ? 'r+' : 'w' })
  const volumeContentSource = await copied(volume.volumeId)
  // A clone is made here, before the next write.
  const copy = await session.volume({ volumeContentSource })
  await writeFile(fileOf(target), 'now!', { flush: true, flag: 'r+' })
  const restored = await session.publish(copy, await session.stage(copy))
  const text = (await readFile(fileOf(restored), 'utf8')).slice(0, 4)
  equal(text, 'then')
}
