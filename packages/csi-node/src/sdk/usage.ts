// How full a file system is, as the kubelet shows it.
import { statfs } from 'node:fs/promises'
import type { VolumeUsage } from './types.ts'

/** Of the file system that the path is on. */
export async function usageOf(path: string): Promise<VolumeUsage[]> {
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(path)
  return [
    { unit: 'BYTES', total: blocks * bsize, available: bavail * bsize, used: (blocks - bfree) * bsize },
    { unit: 'INODES', total: files, available: ffree, used: files - ffree },
  ]
}
