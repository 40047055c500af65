// What a tar says of a file besides its content: owner, mode, times, attributes.
import { chmodSync, fchmodSync, fchownSync, lchownSync } from 'node:fs'
import { LinuxError, setTimes, setXattr } from '@nodelet/linux'
import type { Records, TarEntry } from './tar/entry.ts'
import { timeOf } from './tar/pax.ts'

const rawKey = 'SCHILY.xattr.'
const base64Key = 'LIBARCHIVE.xattr.'
/** With these an image could show files of other layers, or hide them from whoever looks. */
const reserved = /^(?:trusted|user)\.overlay\./

/**
 * Sets all but the times, which later entries change when the file is a folder.
 * @param fd the file, when it is open
 * @throws Error naming the attribute
 */
export function setMetadata(path: string, entry: TarEntry, fd?: number): void {
  const { uid, gid, mode, type, records } = entry
  if (fd === undefined) lchownSync(path, uid, gid)
  else fchownSync(fd, uid, gid)
  // After chown, which drops setuid.
  if (fd !== undefined) fchmodSync(fd, mode)
  else if (type !== 'symlink') chmodSync(path, mode)
  // After both: chown drops capabilities, and chmod changes what an access list says.
  if (records.size > 0) for (const [name, value] of attributesOf(records)) setAttribute(path, entry, name, value)
}

/** When an entry was read and changed, in nanoseconds. */
export interface Times {
  accessed: bigint
  modified: bigint
}

export function timesOf({ mtime, records }: TarEntry): Times {
  const atime = records.get('atime')
  return { accessed: atime ? timeOf('atime', atime) : mtime, modified: mtime }
}

export const setEntryTimes = (path: string, { accessed, modified }: Times): void => setTimes(path, accessed, modified)

function* attributesOf(records: Records): Generator<[string, Buffer], void> {
  for (const [key, value] of records) {
    if (key.startsWith(rawKey)) yield [key.slice(rawKey.length), value]
    else if (key.startsWith(base64Key) && !records.has(rawKey + decodeURIComponent(key.slice(base64Key.length)))) {
      yield [decodeURIComponent(key.slice(base64Key.length)), Buffer.from(value.toString('latin1'), 'base64')]
    }
  }
}

function setAttribute(path: string, { type }: TarEntry, name: string, value: Buffer): void {
  if (reserved.test(name)) throw new Error(`attribute ${name}: the overlay file system's own, images may not set it`)
  try {
    setXattr(path, name, value)
  } catch (error) {
    const code = error instanceof LinuxError ? error.code : ''
    // The store's file system has no such attributes, as other runtimes accept it too.
    if (code === 'ENOTSUP' || code === 'EOPNOTSUPP') return
    // The kernel allows user attributes on files and folders only.
    if (code === 'EPERM' && name.startsWith('user.') && type !== 'file' && type !== 'directory') return
    throw error
  }
}
