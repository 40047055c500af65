// Reads a tar chunk by chunk, without waiting for anything: what it finds goes to a sink at once.
import type { Piece, TarEntry } from './entry.ts'
import { blockSize, parseHeader } from './header.ts'
import type { Header } from './header.ts'
import { integerOf, parseRecords, timeOf } from './pax.ts'
import type { PaxRecords } from './pax.ts'
import { checkPieces, createMapReader, hasMapInContent, mapInRecords, oldMap, oldMapMore } from './sparse.ts'
import type { MapReader } from './sparse.ts'
import { namedText } from './text.ts'

export interface TarSink {
  begin(entry: TarEntry): void
  /** Content of the entry that was begun; `position` is where in the file it belongs. */
  data(chunk: Uint8Array, position: number): void
  end(): void
}

export interface TarReader {
  /** @throws Error when it is no tar, or what the sink throws */
  push(chunk: Buffer): void
  /** There is no more. @throws Error when the tar is cut off */
  finish(): void
}

/** Records are names and attributes; more than this is an attack. Bytes. */
const longestRecords = 1024 * 1024
const longestName = 64 * 1024

/** What is gathered before it can be understood, and who understands it. */
interface Gathering {
  size: number
  take(bytes: Buffer): void
}

export function createTarReader(sink: TarSink): TarReader {
  let pax: PaxRecords | undefined
  let longName: string | undefined
  let longLink: string | undefined
  let gathering: Gathering | undefined
  let parts: Buffer[] = []
  let have = 0
  /** Bytes to pass over. */
  let skip = 0
  /** Content of the entry at hand that is still to come, in pieces. */
  let pieces: Piece[] = []
  let zeros = 0
  let isOver = false
  let padAfter = 0

  const header: Gathering = { size: blockSize, take: (block) => readHeader(block) }
  gathering = header

  const gather = (size: number, longest: number, then: (bytes: Buffer) => void): void => {
    if (size > longest) throw new Error(`an extended header of ${size} bytes: at most ${longest}`)
    if (size === 0) {
      then(Buffer.alloc(0))
      gathering = header
      return
    }
    gathering = {
      size,
      take: (bytes) => {
        skip = padding(size)
        gathering = header
        then(bytes)
      },
    }
  }

  const readHeader = (block: Buffer): void => {
    if (block.every((byte) => byte === 0)) {
      isOver = ++zeros === 2
      return
    }
    if (zeros > 0) throw new Error('not a tar: an empty block and then another header')
    const found = parseHeader(block)
    switch (found.flag) {
      case 'x':
        gather(found.stored, longestRecords, (bytes) => (pax = parseRecords(bytes)))
        return
      case 'L':
        gather(found.stored, longestName, (bytes) => (longName = untilNul(bytes)))
        return
      case 'K':
        gather(found.stored, longestName, (bytes) => (longLink = untilNul(bytes)))
        return
      case 'g':
        skip = found.stored + padding(found.stored) // for all entries: layers have no use for it
        return
      default:
        readEntry(found, block)
    }
  }

  const readEntry = (found: Header, block: Buffer): void => {
    const { records, sparse } = pax ?? { records: new Map<string, Buffer>(), sparse: [] }
    const entry = withRecords({ ...found, name: longName ?? found.name, linkname: longLink ?? found.linkname }, records)
    pax = longName = longLink = undefined
    if (entry.flag === 'S') {
      const { pieces: map, size, isLast } = oldMap(block)
      readOldMap({ ...entry, size }, map, isLast)
    } else if (entry.type === 'file' && hasMapInContent(records)) {
      readMap(entry, createMapReader(), 0)
    } else {
      const map = entry.type === 'file' ? mapInRecords(records, sparse) : undefined
      begin(entry, map ?? [{ offset: 0, length: entry.stored }], map !== undefined)
    }
  }

  const readOldMap = (entry: Entry, map: readonly Piece[], isLast: boolean): void => {
    if (isLast) {
      begin(entry, map, true)
      return
    }
    if (map.length > 1_000_000) throw new Error('a sparse file with a wrong map')
    gathering = {
      size: blockSize,
      take: (block) => {
        gathering = header
        const more = oldMapMore(block)
        readOldMap(entry, [...map, ...more.pieces], more.isLast)
      },
    }
  }

  const readMap = (entry: Entry, reader: MapReader, taken: number): void => {
    if (taken + blockSize > entry.stored) throw new Error(`${entry.name}: a sparse file without its map`)
    gathering = {
      size: blockSize,
      take: (block) => {
        gathering = header
        const map = reader.push(block)
        if (map) begin({ ...entry, stored: entry.stored - taken - blockSize }, map, true)
        else readMap(entry, reader, taken + blockSize)
      },
    }
  }

  const begin = ({ stored, ...entry }: Entry, map: readonly Piece[], isSparse: boolean): void => {
    const hasContent = entry.type === 'file'
    // As other readers have it: links, folders and devices have no content, whatever a header says.
    const length = /[1-6]/.test(entry.flag) ? 0 : stored
    if (isSparse) checkPieces(map, entry.size, stored)
    sink.begin({ ...entry, size: hasContent ? entry.size : 0, ...(isSparse && { pieces: map }) })
    padAfter = padding(length)
    pieces = hasContent ? map.filter((piece) => piece.length > 0) : []
    if (!hasContent) skip = length
    if (pieces.length === 0) ended()
  }

  const ended = (): void => {
    skip += padAfter
    sink.end()
  }

  /** Answers how many bytes it took. */
  const content = (chunk: Buffer, at: number): number => {
    const piece = pieces[0]
    if (!piece) return 0
    const taken = chunk.subarray(at, at + piece.length)
    sink.data(taken, piece.offset)
    if (taken.length === piece.length) pieces.shift()
    else pieces[0] = { offset: piece.offset + taken.length, length: piece.length - taken.length }
    if (pieces.length === 0) ended()
    return taken.length
  }

  const gathered = (chunk: Buffer, at: number, { size, take }: Gathering): number => {
    if (have === 0 && chunk.length - at >= size) {
      take(chunk.subarray(at, at + size))
      return size
    }
    const taken = chunk.subarray(at, at + size - have)
    parts.push(Buffer.from(taken))
    have += taken.length
    if (have === size) {
      const whole = Buffer.concat(parts)
      parts = []
      have = 0
      take(whole)
    }
    return taken.length
  }

  return {
    push: (chunk) => {
      for (let at = 0; at < chunk.length && !isOver;) {
        if (pieces.length > 0) at += content(chunk, at)
        else if (skip > 0) {
          const passed = Math.min(skip, chunk.length - at)
          skip -= passed
          at += passed
        } else at += gathered(chunk, at, gathering ?? header)
      }
    },
    finish: () => {
      if (isOver) return
      const isBetween = pieces.length === 0 && skip === 0 && have === 0 && gathering === header
      if (!isBetween || pax || longName !== undefined || longLink !== undefined) throw new Error('the tar is cut off')
    },
  }
}

type Entry = TarEntry & { stored: number }

const padding = (size: number): number => (blockSize - (size % blockSize)) % blockSize

/** Old tars mark a folder by the slash after its name alone. */
const isFolderName = ({ type, name, flag }: TarEntry): boolean => type === 'file' && flag === '0' && name.endsWith('/')

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return namedText(end < 0 ? bytes : bytes.subarray(0, end))
}

/** @throws Error naming the record */
function withRecords(header: Header, records: ReadonlyMap<string, Buffer>): Entry {
  const number = (key: string): number | undefined => {
    const value = records.get(key)
    return value && integerOf(key, value)
  }
  const text = (key: string): string | undefined => {
    const value = records.get(key)
    if (value?.includes(0)) throw new Error(`extended header: ${key} has a NUL`)
    return value && namedText(value)
  }
  const mtime = records.get('mtime')
  const stored = number('size') ?? header.stored
  if (stored < 0) throw new Error(`a header that says ${stored} bytes`)
  const name = text('GNU.sparse.name') ?? text('path') ?? header.name
  const entry = {
    ...header,
    name,
    linkname: text('linkpath') ?? header.linkname,
    uid: number('uid') ?? header.uid,
    gid: number('gid') ?? header.gid,
    mtime: mtime ? timeOf('mtime', mtime) : header.mtime,
    stored,
    size: number('GNU.sparse.realsize') ?? number('GNU.sparse.size') ?? stored,
    records,
  }
  return isFolderName(entry) ? { ...entry, type: 'directory' } : entry
}
