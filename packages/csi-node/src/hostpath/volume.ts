// A volume by its id.
import { CsiError } from '../sdk/errors.ts'
import { isMounted } from '../sdk/mounting.ts'
import type { State, VolumeRecord } from './records.ts'

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
