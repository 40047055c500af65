// One entry of a tar, as its headers say it together.

/** Kinds of files; `other` is what layers have no use for. */
export type EntryType = 'file' | 'directory' | 'symlink' | 'link' | 'character' | 'block' | 'fifo' | 'other'

/** A piece of a sparse file that the tar has; the rest is holes. Bytes. */
export interface Piece {
  offset: number
  length: number
}

/** Extended header records, as bytes: attributes are no text. */
export type Records = ReadonlyMap<string, Buffer>

export interface TarEntry {
  name: string
  linkname: string
  type: EntryType
  /** The letter in the header, for messages. */
  flag: string
  /** Permissions with setuid, setgid and sticky. */
  mode: number
  uid: number
  gid: number
  /** Of the file when it is unpacked. Bytes. */
  size: number
  /** Nanoseconds since 1970; may be negative. */
  mtime: bigint
  devmajor: number
  devminor: number
  records: Records
  /** Only of sparse files. */
  pieces?: readonly Piece[]
}
