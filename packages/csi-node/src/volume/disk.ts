// Whether the disk of a volume is free of users, also of those whose mounts this process does not see.
import { constants } from 'node:fs'
import { open, readFile, stat } from 'node:fs/promises'
import { readMountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import { mountAt, readMounts } from './mounts.ts'

/** A block device, as long as it is this disk: numbers are given to others later. */
export interface Disk {
  /** `MAJOR:MINOR` */
  readonly number: string
  /** The kernel's count of disks. */
  readonly sequence: string
}

/** The disk whose file system is mounted at a path, all of it; undefined: there is none. @throws Error */
export async function diskMountedAt(path: string): Promise<Disk | undefined> {
  const mount = mountAt(await readMounts(path), path)
  // What has a part of a file system leaves the rest to others.
  if (!mount || mount.root !== '/' || mount.major === 0) return undefined
  return diskOf(`${mount.major}:${mount.minor}`)
}

/** The disk that a path is the device of. */
export async function diskAt(path: string): Promise<Disk | undefined> {
  const stats = await stat(path).catch(missing)
  if (!stats?.isBlockDevice()) return undefined
  return diskOf(numberOf(stats))
}

/** `MAJOR:MINOR` of a device. */
export const numberOf = ({ rdev }: { rdev: number }): string =>
  `${((rdev >> 8) & 0xfff) | ((rdev / 2 ** 32) & ~0xfff)}:${(rdev & 0xff) | ((rdev >> 12) & 0xfff00)}`

async function diskOf(number: string): Promise<Disk | undefined> {
  const sequence = await sequenceOf(number)
  return sequence === undefined ? undefined : { number, sequence }
}

/** Whether somebody keeps the disk to himself: has it mounted, or in a larger device. One that is gone is free. */
export async function isInUse({ number, sequence }: Disk): Promise<boolean> {
  if ((await sequenceOf(number)) !== sequence) return false
  const name = /^DEVNAME=(.+)$/m.exec((await textOf(number, 'uevent')) ?? '')?.[1]
  if (name === undefined) return false
  try {
    await (await open(`/dev/${name}`, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK)).close()
    return false
  } catch (error) {
    return hasCode(error, 'EBUSY')
  }
}

/** @throws Error in the words of the Go kubelet */
export async function refuseInUse(disk: Disk | undefined): Promise<void> {
  // A driver's own mount of the disk, which is seen here, is its own affair.
  if (!disk || !(await isInUse(disk)) || (await isSeen(disk))) return
  throw new Error('the device is in use when it was no longer expected to be in use')
}

const isSeen = async ({ number }: Disk): Promise<boolean> =>
  (await readMountInfo()).some(({ major, minor }) => `${major}:${minor}` === number)

/** Of the disk itself when this is a part of one. Undefined: no such device, or Linux before 5.15. */
const sequenceOf = async (number: string): Promise<string | undefined> =>
  (await textOf(number, 'diskseq')) ?? (await textOf(number, '../diskseq'))

const textOf = async (number: string, file: string): Promise<string | undefined> =>
  readFile(`/sys/dev/block/${number}/${file}`, 'utf8').catch(missing)

const missing = (error: unknown): undefined => {
  if (!['ENOENT', 'ENODEV', 'ENXIO'].some((code) => hasCode(error, code))) throw error
}
