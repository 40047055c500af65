// The folder that holds a volume.
import { lstatSync } from 'node:fs'
import { chmod, chown, mkdir, rename } from 'node:fs/promises'

/** What has it goes with the pod, as volumes do. */
const halfSuffix = '.making~'
const groupBits = 0o2770

/**
 * Makes the folder when it is missing: with its mode and its group, or not at all, whenever a kill comes. One that is there is left
 * as it is: containers may have given it another mode.
 * @param gid the pod's fsGroup
 */
export async function makeVolumeFolder(path: string, mode: number, gid?: number): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })) return
  const half = `${path}${halfSuffix}`
  await mkdir(half, { recursive: true, mode: 0o750 })
  if (gid !== undefined) await chown(half, 0, gid)
  await chmod(half, groupMode(mode, gid))
  await rename(half, path)
}

/** The mode of a new folder that a group has. */
export const groupMode = (mode: number, gid: number | undefined): number =>
  gid === undefined ? mode : mode | groupBits
