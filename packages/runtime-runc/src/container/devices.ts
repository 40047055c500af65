// Device nodes of the host.
import { lstat, readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Stats } from 'node:fs'
import { isMissing } from '../files.ts'
import type { OciDevice } from '../spec/oci.ts'

/** Below /dev these are the container's own. */
const OWN = new Set(['pts', 'shm', 'fd', 'mqueue', 'console', '.lxc', '.lxd-mounts', '.udev'])

/** The node at `hostPath`, links followed, or all nodes below it when it is a folder; paths start with `hostPath`. */
export async function devicesAt(hostPath: string): Promise<OciDevice[]> {
  const real = await realpath(hostPath)
  const found = await devicesOf(real)
  return found.map((device) => ({ ...device, path: hostPath + device.path.slice(real.length) }))
}

/** All nodes below /dev but those that every container has of its own. */
export async function hostDevices(): Promise<OciDevice[]> {
  const names = (await readdir('/dev')).filter((name) => !OWN.has(name))
  return (await Promise.all(names.map((name) => devicesOf(join('/dev', name))))).flat()
}

async function devicesOf(path: string): Promise<OciDevice[]> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined // unplugged since its folder was read
    throw error
  })
  if (!stats) return []
  if (stats.isDirectory()) {
    const names = await readdir(path)
    return (await Promise.all(names.map((name) => devicesOf(join(path, name))))).flat()
  }
  return stats.isBlockDevice() || stats.isCharacterDevice() ? [device(path, stats)] : []
}

function device(path: string, stats: Stats): OciDevice {
  const { major, minor } = deviceNumbers(stats.rdev)
  const type = stats.isBlockDevice() ? 'b' : 'c'
  return { path, type, major, minor, fileMode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid }
}

/** Takes apart the kernel's encoding of a device number (up to 12 and 20 bits). */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  return { major: (rdev >> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >> 12) & 0xfff00) }
}
