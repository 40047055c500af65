// A volume by its id.
import { loopsOfFile } from '@nodelet/linux'
import { CsiError } from '../sdk/errors.ts'
import { isMounted } from '../sdk/mounting.ts'
import type { State, VolumeRecord } from './records.ts'
import type { Store } from './store.ts'

/** @throws CsiError NOT_FOUND */
export function volumeOf({ current }: { current: State }, volumeId: string): VolumeRecord {
  const record = current.volumes.get(volumeId)
  if (!record || record.isDeleting) throw new CsiError('NOT_FOUND', `volume ${volumeId} does not exist`)
  return record
}

/** Where writes to a volume's file system of its own can be held back. */
export async function frozenPath({ backing, isBlock, stagingPath }: VolumeRecord): Promise<string | undefined> {
  const hasOwn = backing === 'image' && !isBlock && stagingPath !== undefined
  return hasOwn && (await isMounted(stagingPath)) ? stagingPath : undefined
}

/** By what is mounted, and by devices: what a restart of the machine took away uses nothing. */
export async function isInUse(store: Store, record: VolumeRecord): Promise<boolean> {
  const { stagingPath, published, isBlock } = record
  if (isBlock && loopsOfFile(store.pathOf('volumes', record)).length > 0) return true
  const places = [stagingPath, ...published.map(({ targetPath }) => targetPath)]
  for (const place of places) if (place !== undefined && (await isMounted(place))) return true
  return false
}
