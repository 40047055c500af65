// How full a volume is, as the kubelet shows it.
import { readFile, stat, statfs } from 'node:fs/promises'
import { numberOf } from '../volume/disk.ts'
import { CsiError } from './errors.ts'
import type { VolumeUsage } from './types.ts'

/** sysfs counts so, whatever the device does. */
const sectorBytes = 512

/**
 * Of the file system that the path is on; a block device is full.
 * @throws CsiError NOT_FOUND when nothing is there; Error
 */
export async function usageOf(path: string): Promise<VolumeUsage[]> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new CsiError('NOT_FOUND', `${path}: nothing is there`) : error
  })
  if (stats.isBlockDevice()) {
    const total = Number(await readFile(`/sys/dev/block/${numberOf(stats)}/size`, 'utf8')) * sectorBytes
    return [{ unit: 'BYTES', total, available: 0, used: total }]
  }
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(path)
  return [
    { unit: 'BYTES', total: blocks * bsize, available: bavail * bsize, used: (blocks - bfree) * bsize },
    { unit: 'INODES', total: files, available: ffree, used: files - ffree },
  ]
}
