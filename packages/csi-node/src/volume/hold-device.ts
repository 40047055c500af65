// Devices that pods have: held by the kubelet for as long.
import { mkdir, open, readlink, rm, stat, symlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { attachLoop, detachLoop, loopsOf, mountSlowly, unmountSlowly } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import { isMounted, refuseLinks, removeTarget } from './mounts.ts'

/**
 * Binds a device to a file, and keeps a loop device open on it: so it cannot go while it is in use. Safe to run again.
 *
 * @param device in `/dev` @param path of the file, which is made
 * @throws LinuxError
 */
export async function holdDevice(device: string, path: string, readOnly: boolean): Promise<void> {
  // One that the driver gave before may be another.
  if ((await isMounted(path)) && !(await isSameDevice(device, path))) await letGoOfDevice(path)
  if (!(await isMounted(path))) {
    await mkdir(dirname(path), { recursive: true, mode: 0o750 })
    await (await open(path, 'a', 0o640)).close()
    await mountSlowly({ source: device, target: path, options: ['bind'] })
  }
  if (loopsOf(path).length === 0) attachLoop(path, { readOnly })
}

async function isSameDevice(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([stat(one), stat(other)])
  return second.isBlockDevice() && first.rdev === second.rdev
}

/** Undoes {@link holdDevice}. Safe to run again. @throws LinuxError with EBUSY; Error */
export async function letGoOfDevice(path: string): Promise<void> {
  for (const loop of loopsOf(path)) detachLoop(loop)
  while (await isMounted(path)) {
    if (!(await unmountSlowly(path))) throw new Error(`${path} is mounted, but cannot be unmounted from here`)
  }
  await removeTarget(path)
}

/**
 * Makes the link in a pod's folder by which it is known to have a device; an older one is made again, as the Go kubelet does.
 *
 * @param rootDir the kubelet's folder @param link below it @throws Error when a folder on the way is a link
 */
export async function linkDevice(rootDir: string, link: string, target: string): Promise<void> {
  await refuseLinks(rootDir, dirname(link))
  await mkdir(dirname(link), { recursive: true, mode: 0o750 })
  try {
    if ((await readlink(link)) === target) return
    await rm(link)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  await symlink(target, link)
}
