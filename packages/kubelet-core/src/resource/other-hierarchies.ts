// On cgroup v1 runc makes a container's cgroup in every hierarchy that is mounted, the unified one too, with its parents; it removes its own only.
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readMountInfo } from '@nodelet/linux'

/** Removes a cgroup and all below from every hierarchy. Fine when there is none. @param path absolute in the hierarchy */
export async function removeFromAll(path: string): Promise<void> {
  for (const { type, mountPoint } of await readMountInfo()) {
    if (type === 'cgroup' || type === 'cgroup2') await removeFolder(join(mountPoint, path))
  }
}

async function removeFolder(folder: string): Promise<void> {
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) await removeFolder(join(folder, entry.name))
    }
    await rmdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
