// How large a file system is, and what is left of it.
import { statfs } from 'node:fs/promises'
import type { DiskUsage } from '../eviction/usage.ts'

/** Of the file system that the path is on: what users may still take is available. */
export async function readDisk(path: string): Promise<DiskUsage> {
  const { blocks, bavail, bsize, files, ffree } = await statfs(path, { bigint: true })
  return { capacityBytes: blocks * bsize, availableBytes: bavail * bsize, inodes: files, inodesFree: ffree }
}
