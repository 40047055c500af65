// Takes a file of a lower layer into an upper one with all that belongs to it, as overlay does at the first write.
import {
  chmodSync,
  constants,
  copyFileSync,
  lchownSync,
  lutimesSync,
  mkdirSync,
  readlinkSync,
  symlinkSync,
} from 'node:fs'
import type { Stats } from 'node:fs'
import { getXattr, makeNode, setXattr } from '@nodelet/linux'

/** Attributes that change what a program may do; a copy without them would behave differently. */
const attributes = ['security.capability', 'system.posix_acl_access', 'system.posix_acl_default']

/** Copies one file or special file; of a folder only the folder itself. */
export function copyUp(from: string, stats: Stats, to: string): void {
  if (stats.isDirectory()) mkdirSync(to)
  else if (stats.isSymbolicLink()) symlinkSync(readlinkSync(from), to)
  else if (stats.isFile()) copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  else makeNode(to, stats.mode, majorOf(stats.rdev), minorOf(stats.rdev))
  lchownSync(to, stats.uid, stats.gid)
  if (!stats.isSymbolicLink()) {
    chmodSync(to, stats.mode & 0o7777) // after chown, which drops setuid, and whatever the umask
    for (const name of attributes) copyAttribute(from, to, name)
  }
  lutimesSync(to, stats.atimeMs / 1000, stats.mtimeMs / 1000)
}

function copyAttribute(from: string, to: string, name: string): void {
  try {
    const value = getXattr(from, name)
    if (value) setXattr(to, name, value)
  } catch (error) {
    // A file system without this kind of attribute has nothing to copy.
    if ((error as { code?: string }).code !== 'EOPNOTSUPP' && (error as { code?: string }).code !== 'ENOTSUP')
      throw error
  }
}

/** As gnu_dev_major(3) and gnu_dev_minor(3) unpack them. */
const majorOf = (device: number): number => (device >>> 8) & 0xfff
const minorOf = (device: number): number => (device & 0xff) | ((device >>> 12) & 0xfff00)
