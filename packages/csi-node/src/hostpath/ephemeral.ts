// Inline volumes of pods: a new folder, which goes with the pod.
import { CsiError } from '../sdk/errors.ts'
import type { PublishRequest } from '../sdk/types.ts'
import { refused } from '../sdk/validate.ts'
import type { Settings } from './options.ts'
import { refuseOverCapacity } from './plan.ts'
import type { VolumeRecord } from './records.ts'
import { newContentName, type Store } from './store.ts'

const podPrefix = 'csi.storage.k8s.io/'

export const isEphemeral = ({ volumeContext, stagingPath }: PublishRequest): boolean =>
  stagingPath === undefined && volumeContext[`${podPrefix}ephemeral`] === 'true'

/** Fine when it is there already. Of attributes only `kind` means something, as to the sample driver. @throws CsiError */
export async function makeEphemeral(
  store: Store,
  settings: Settings,
  { volumeId, volumeContext, capability }: PublishRequest,
  signal: AbortSignal,
): Promise<void> {
  if (capability.kind === 'block') throw refused('volume_capability.block: an ephemeral volume is a folder')
  const found = store.records.current.volumes.get(volumeId)
  if (found?.isEphemeral === false) throw new CsiError('ALREADY_EXISTS', `volume ${volumeId} is not an ephemeral one`)
  if (found) return
  const { kind = '' } = volumeContext
  const record: VolumeRecord = {
    id: volumeId,
    name: volumeId,
    data: newContentName(),
    backing: 'folder',
    isBlock: false,
    fsType: '',
    sizeBytes: 0,
    kind,
    isEphemeral: true,
    grows: false,
    isDeleting: false,
    published: [],
  }
  const add: Parameters<Store['make']>[3] = (state) => {
    refuseOverCapacity(state, settings, kind, 0)
    state.volumes.set(volumeId, record)
  }
  await store.make('volumes', record, undefined, add, signal)
}
