// What a tar says of a file besides its content: owner, mode, times, attributes.
import { chmodSync, lchownSync, lutimesSync } from 'node:fs'
import { LinuxError, setXattr } from '@nodelet/linux'
import type { Header } from 'tar-stream'

/** Extended header records. */
export type Records = ReadonlyMap<string, Buffer>

const rawKey = 'SCHILY.xattr.'
const base64Key = 'LIBARCHIVE.xattr.'
/** With these an image could show files of other layers, or hide them from whoever looks. */
const reserved = /^(?:trusted|user)\.overlay\./

/** Sets all but the times, which later entries change when the file is a folder. @throws Error naming the attribute */
export function setMetadata(path: string, header: Header, records: Records): void {
  const isSymlink = header.type === 'symlink'
  lchownSync(path, numberOf(records, 'uid') ?? header.uid, numberOf(records, 'gid') ?? header.gid)
  for (const [name, value] of attributesOf(records)) setAttribute(path, header, name, value)
  if (!isSymlink) chmodSync(path, header.mode & 0o7777) // after chown, which drops setuid
}

/** Sets the times; they are exact to less than a microsecond. */
export function setTimes(path: string, header: Header, records: Records): void {
  const mtime = numberOf(records, 'mtime') ?? header.mtime.getTime() / 1000
  lutimesSync(path, mtime, mtime)
}

function numberOf(records: Records, key: string): number | undefined {
  const text = records.get(key)?.toString()
  if (text === undefined || text === '') return undefined
  const number = Number(text)
  if (!Number.isFinite(number)) throw new Error(`extended header: ${key} is ${JSON.stringify(text)}, not a number`)
  return number
}

function* attributesOf(records: Records): Generator<[string, Buffer], void> {
  for (const [key, value] of records) {
    if (key.startsWith(rawKey)) yield [key.slice(rawKey.length), value]
    else if (key.startsWith(base64Key) && !records.has(rawKey + decodeURIComponent(key.slice(base64Key.length)))) {
      yield [decodeURIComponent(key.slice(base64Key.length)), Buffer.from(value.toString('latin1'), 'base64')]
    }
  }
}

function setAttribute(path: string, { type }: Header, name: string, value: Buffer): void {
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
