// The cgroup that is made for a sandbox and goes with it.
import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readMountInfo } from '@nodelet/linux'
import type { Cgroups } from '@nodelet/linux'
import { isMissing } from '../files.ts'

/** Removes it, which must have no processes, also from the hierarchies that only runc uses. Fine when there is none. */
export async function removeSandboxCgroup(cgroups: Cgroups, path: string): Promise<void> {
  await cgroups.remove(path)
  const mounts = (await readMountInfo()).filter(({ type }) => type === 'cgroup' || type === 'cgroup2')
  for (const { mountPoint } of mounts) {
    try {
      await rmdir(join(mountPoint, path))
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
}
