// How large a file system is, and what is left of it.
import { statfs } from 'node:fs/promises'
import type { VolumeStats, VolumeUse } from '@nodelet/csi-node'
import type { DiskUsage } from '../eviction/usage.ts'

/** Of the file system that the path is on: what users may still take is available. */
export async function readDisk(path: string): Promise<DiskUsage> {
  const { blocks, bavail, bsize, files, ffree } = await statfs(path, { bigint: true })
  return { capacityBytes: blocks * bsize, availableBytes: bavail * bsize, inodes: files, inodesFree: ffree }
}

/** The same of a volume, with what is used. */
export async function readVolume(path: string): Promise<VolumeStats> {
  const { blocks, bfree, bavail, bsize, files, ffree } = await statfs(path, { bigint: true })
  const bytes = { total: blocks * bsize, available: bavail * bsize, used: (blocks - bfree) * bsize }
  return { bytes: inNumbers(bytes), inodes: inNumbers({ total: files, available: ffree, used: files - ffree }) }
}

const inNumbers = ({ total, available, used }: Record<keyof VolumeUse, bigint>): VolumeUse => ({
  total: Number(total),
  available: Number(available),
  used: Number(used),
})
