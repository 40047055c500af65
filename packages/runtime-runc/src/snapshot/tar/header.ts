// The 512 bytes before each entry. @see POSIX ustar; GNU tar, "Basic Tar Format"
import type { EntryType, TarEntry } from './entry.ts'
import { namedText } from './text.ts'

export const blockSize = 512

const types: Readonly<Record<string, EntryType>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
}

/** A header before long names and extended records are applied. `stored` is the bytes that follow it in the tar. */
export type Header = Omit<TarEntry, 'records'> & { stored: number }

const checksumAt = 148

/** @throws Error when it is no header */
export function parseHeader(block: Buffer): Header {
  const said = numberAt(block, checksumAt, 8)
  let sum = 8 * 0x20 // the checksum's own place counts as blanks
  for (const [at, byte] of block.entries()) if (at < checksumAt || at >= checksumAt + 8) sum += byte
  if (sum !== said) throw new Error(`not a tar header: its checksum is ${said}, its bytes give ${sum}`)
  const flag = String.fromCharCode(block[156] ?? 0)
  const isUstar = block.toString('latin1', 257, 265) === 'ustar\x0000'
  // Star puts times into the last part of the prefix and says so at the end.
  const isStar = isUstar && block.toString('latin1', 508, 512) === 'tar\0'
  const prefix = isUstar ? textAt(block, 345, isStar ? 131 : 155) : ''
  const base = textAt(block, 0, 100)
  const size = numberAt(block, 124, 12)
  if (size < 0) throw new Error(`a header that says ${size} bytes`)
  return {
    name: prefix === '' ? base : `${prefix}/${base}`,
    linkname: textAt(block, 157, 100),
    type: types[flag] ?? 'other',
    flag: flag === '\0' ? '0' : flag,
    mode: numberAt(block, 100, 8) & 0o7777,
    uid: numberAt(block, 108, 8),
    gid: numberAt(block, 116, 8),
    size,
    stored: size,
    mtime: BigInt(Math.trunc(numberAt(block, 136, 12))) * 1_000_000_000n,
    // Only devices have these; very old tars have anything here.
    devmajor: flag === '3' || flag === '4' ? numberAt(block, 329, 8) : 0,
    devminor: flag === '3' || flag === '4' ? numberAt(block, 337, 8) : 0,
  }
}

function textAt(block: Buffer, at: number, length: number): string {
  const field = block.subarray(at, at + length)
  const end = field.indexOf(0)
  return namedText(end < 0 ? field : field.subarray(0, end))
}

/** Octal digits; or base 256, as two's complement, when the first bit is set. @throws Error */
export function numberAt(block: Buffer, at: number, length: number): number {
  const field = block.subarray(at, at + length)
  const first = field[0] ?? 0
  if (first & 0x80) {
    // The second bit is the sign, and all bits before the value repeat it.
    const start = first & 0x40 ? (first & 0x7f) - 0x80 : first & 0x3f
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, start)
    if (!Number.isSafeInteger(value)) throw new Error('a header with a number too large')
    return value
  }
  const digits = field.toString('latin1').replaceAll('\0', ' ').trim()
  if (digits === '') return 0
  if (!/^[0-7]+$/.test(digits)) throw new Error(`a header with ${JSON.stringify(digits)} for an octal number`)
  return Number.parseInt(digits, 8)
}
