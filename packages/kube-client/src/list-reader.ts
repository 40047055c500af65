// The JSON of a list, read piece by piece: one that is long holds up nobody else. Pure.

import type { Steps } from './slices.ts'

/** Bytes that are read at once, which takes a fraction of a millisecond. A list of no more is read as a whole. */
const PIECE = 32 * 1024
/** Places that look like the end of an item and are none, in one list: with more it is read as a whole. */
const MOST_ERRORS = 8

const ITEMS = '"items":['

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined // whoever reads it as a whole is told what is wrong with it
  }
}

/** The list without its items, and where these are; undefined unless they come last, as API servers write them. */
const headOf = (bytes: Buffer): { head: { items: unknown[] }; from: number; to: number } | undefined => {
  const from = bytes.indexOf(ITEMS) + ITEMS.length
  const to = bytes.lastIndexOf(']')
  if (from < ITEMS.length || to < from) return undefined
  const head = parsed(bytes.toString('utf8', 0, from) + bytes.toString('utf8', to)) as { items?: unknown } | undefined
  if (!head || !Object.hasOwn(head, 'items') || !Array.isArray(head.items) || head.items.length > 0) return undefined
  return { head: head as { items: unknown[] }, from, to }
}

/**
 * The items between two places. Where one ends is guessed: at what looks like the beginning of the first one. A guess is right when
 * what is before it can be read. Undefined when these are no items, or when too many guesses are wrong.
 */
const itemsBetween = function* (bytes: Buffer, from: number, to: number): Steps<unknown[] | undefined> {
  const mark = `},${bytes.toString('latin1', from, bytes.indexOf(':', from) + 1)}`
  const items: unknown[] = []
  let errors = 0
  let start = from
  let search = from + PIECE
  while (start < to) {
    const found = bytes.indexOf(mark, search)
    const end = found < 0 || found >= to ? to : found + 1
    const piece = parsed(`[${bytes.toString('utf8', start, end)}]`) as unknown[] | undefined
    yield
    if (piece && piece.length > 0) {
      for (const item of piece) items.push(item)
      start = end + 1
      search = start + PIECE
    } else {
      errors += 1
      if (end === to || errors > MOST_ERRORS) return undefined
      search = end
    }
  }
  // A comma that nothing follows.
  return start === to + 1 ? items : undefined
}

/**
 * What `JSON.parse` makes of bytes of UTF-8; of a long list, read in pieces.
 * @throws SyntaxError for what is no JSON
 */
export const readList = function* (bytes: Buffer): Steps<unknown> {
  const list = bytes.length > PIECE ? headOf(bytes) : undefined
  const items = list && (yield* itemsBetween(bytes, list.from, list.to))
  if (!list || !items) return JSON.parse(bytes.toString()) as unknown
  return Object.assign(list.head, { items })
}
