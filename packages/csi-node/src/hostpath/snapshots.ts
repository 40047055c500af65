// Copies of volumes as they were. Of an image whose file system is mounted, writes are held back meanwhile.
import { CsiError } from '../sdk/errors.ts'
import type { ControllerFunctions, Snapshot } from '../sdk/types.ts'
import { pageOf } from './page.ts'
import type { SnapshotRecord } from './records.ts'
import { newContentName, type Store } from './store.ts'
import { frozenPath, volumeOf } from './volume.ts'

/** Without GetSnapshot, which clusters do not use yet: csi-sanity up to 5.4 fails a driver that claims it. */
type SnapshotFunctions = Pick<ControllerFunctions, 'createSnapshot' | 'deleteSnapshot' | 'listSnapshots'>

const told = ({ id, sourceVolumeId, sizeBytes, createdAt }: SnapshotRecord): Snapshot => ({
  snapshotId: id,
  sourceVolumeId,
  sizeBytes,
  createdAt: new Date(createdAt),
  isReady: true,
})

export function snapshotFunctions(store: Store): SnapshotFunctions {
  const { records } = store
  const living = (): SnapshotRecord[] => [...records.current.snapshots.values()].filter(({ isDeleting }) => !isDeleting)
  return {
    createSnapshot: async ({ name, sourceVolumeId }, { signal }) => {
      const found = living().find((each) => each.name === name)
      if (found && found.sourceVolumeId !== sourceVolumeId) {
        throw new CsiError('ALREADY_EXISTS', `snapshot ${name} is there, of volume ${found.sourceVolumeId}`)
      }
      if (found) return told(found)
      const volume = volumeOf(records, sourceVolumeId)
      const { backing, isBlock, fsType, sizeBytes } = volume
      const id = newContentName()
      const createdAt = new Date().toISOString()
      const content = { backing, isBlock, fsType, sizeBytes, data: id }
      const record: SnapshotRecord = { ...content, id, name, sourceVolumeId, createdAt, isDeleting: false }
      const frozenAt = await frozenPath(volume)
      const source = { path: store.pathOf('volumes', volume), ...(frozenAt !== undefined && { frozenAt }) }
      const add: Parameters<Store['make']>[3] = (state) => {
        state.snapshots.set(id, record)
      }
      await store.make('snapshots', record, source, add, signal)
      return told(record)
    },
    deleteSnapshot: async ({ snapshotId }) => store.remove('snapshots', snapshotId),
    listSnapshots: ({ snapshotId, sourceVolumeId, ...request }) => {
      const wanted = living().filter(
        (each) =>
          (snapshotId === '' || each.id === snapshotId) &&
          (sourceVolumeId === '' || each.sourceVolumeId === sourceVolumeId),
      )
      return pageOf(wanted, request, told)
    },
  }
}
