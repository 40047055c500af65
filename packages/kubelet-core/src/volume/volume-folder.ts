// The folder that holds a volume.
import { chmod, chown, lstat, mkdir, rename } from 'node:fs/promises'
import { hasCode } from '../errors.ts'

/** What has it goes with the pod, as volumes do. */
const halfSuffix = '.making~'
const groupBits = 0o2770

/**
 * Makes the folder when it is missing: with its mode and its group, or not at all, whenever a kill comes. One that is there is left
 * as it is: containers may have given it another mode.
 * @param gid the pod's fsGroup
 */
export async function makeVolumeFolder(path: string, mode: number, gid?: number): Promise<void> {
  if (await isThere(path)) return
  const half = `${path}${halfSuffix}`
  await mkdir(half, { recursive: true, mode: 0o750 })
  if (gid !== undefined) await chown(half, 0, gid)
  await chmod(half, groupMode(mode, gid))
  await rename(half, path)
}

/** The mode of a new folder that a group has. */
export const groupMode = (mode: number, gid: number | undefined): number =>
  gid === undefined ? mode : mode | groupBits

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}
