// Files with holes, in every form that GNU tar writes. @see GNU tar, "Storing Sparse Files"
import type { Piece, Records } from './entry.ts'
import { blockSize, numberAt } from './header.ts'
import { integerOf } from './pax.ts'

/** More is an attack: a piece takes at least a block of the tar. */
const mostPieces = 1_000_000

/** @throws Error when they overlap, leave the file, or are not what the tar holds */
export function checkPieces(pieces: readonly Piece[], size: number, stored: number): void {
  let at = 0
  let sum = 0
  for (const { offset, length } of pieces) {
    if (length < 0 || offset < at || offset + length > size) throw new Error('a sparse file with a wrong map')
    at = offset + length
    sum += length
  }
  if (sum !== stored) throw new Error(`a sparse file whose map has ${sum} bytes and whose content ${stored}`)
}

/** Offset and length in turn. @throws Error */
export function piecesOf(numbers: readonly number[]): Piece[] {
  if (numbers.length % 2 !== 0 || numbers.length / 2 > mostPieces) throw new Error('a sparse file with a wrong map')
  const pieces: Piece[] = []
  for (let at = 0; at < numbers.length; at += 2) {
    pieces.push({ offset: numbers[at] ?? 0, length: numbers[at + 1] ?? 0 })
  }
  return pieces
}

/** The map within the header itself; more of it follows in blocks. */
export function oldMap(header: Buffer): { pieces: Piece[]; size: number; isLast: boolean } {
  return { pieces: oldPieces(header, 386, 4), size: numberAt(header, 483, 12), isLast: header[482] === 0 }
}

export function oldMapMore(block: Buffer): { pieces: Piece[]; isLast: boolean } {
  return { pieces: oldPieces(block, 0, 21), isLast: block[504] === 0 }
}

function oldPieces(block: Buffer, at: number, count: number): Piece[] {
  const pieces: Piece[] = []
  for (let each = 0; each < count; each += 1) {
    const offset = numberAt(block, at + each * 24, 12)
    const length = numberAt(block, at + each * 24 + 12, 12)
    // An empty place ends the map; an empty piece at the end says only how long the file is.
    if (block[at + each * 24] !== 0) pieces.push({ offset, length })
  }
  return pieces
}

/** How the records tell that the map is at the beginning of the content. */
export const hasMapInContent = (records: Records): boolean => records.get('GNU.sparse.major')?.toString() === '1'

/** The map in the records of formats 0.0 and 0.1. */
export function mapInRecords(records: Records, numbers: readonly number[]): Piece[] | undefined {
  const text = records.get('GNU.sparse.map')?.toString('latin1')
  if (text !== undefined) {
    return piecesOf(text.split(',').map((word) => integerOf('GNU.sparse.map', Buffer.from(word))))
  }
  return records.has('GNU.sparse.size') ? piecesOf(numbers) : undefined
}

export interface MapReader {
  /** Takes the next block of the content; answers the map once it is whole. @throws Error */
  push(block: Buffer): Piece[] | undefined
}

/** Format 1.0: decimal numbers, one a line, first how many pieces there are, filled up to a block. */
export function createMapReader(): MapReader {
  const numbers: number[] = []
  let rest = ''
  let blocks = 0
  return {
    push: (block) => {
      if (++blocks * blockSize > mostPieces * 40) throw new Error('a sparse file with a wrong map')
      const lines = (rest + block.toString('latin1')).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        numbers.push(integerOf('the map of a sparse file', Buffer.from(line)))
        const [count = 0] = numbers
        if (count < 0 || count > mostPieces) throw new Error('a sparse file with a wrong map')
        if (numbers.length === 1 + 2 * count) return piecesOf(numbers.slice(1))
      }
      return undefined
    },
  }
}
