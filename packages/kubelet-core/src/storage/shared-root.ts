// What drivers in pods mount below the kubelet's folder has to be seen on the node: its mount has to be a shared one.
import { realpath } from 'node:fs/promises'
import { type MountInfo, mount, readMountInfo } from '@nodelet/linux'

/** Makes the mount that a folder is on a shared one: the folder becomes a mount of its own for that. Safe to run again. @throws LinuxError */
export async function shareRoot(rootDir: string): Promise<void> {
  const root = await realpath(rootDir)
  const mounts = await readMountInfo()
  if (mountOf(mounts, root)?.optionalFields.some((field) => field.startsWith('shared:'))) return
  const isMount = mounts.some(({ mountPoint }) => mountPoint === root)
  if (!isMount) mount({ source: root, target: root, options: ['rbind'] })
  mount({ source: 'none', target: root, options: ['rshared'] })
}

/** The mount on top that a path is on. */
const mountOf = (mounts: readonly MountInfo[], path: string): MountInfo | undefined =>
  mounts
    .filter(({ mountPoint }) => mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`))
    .reduce<MountInfo | undefined>((best, one) => {
      return best && best.mountPoint.length > one.mountPoint.length ? best : one
    }, undefined)
