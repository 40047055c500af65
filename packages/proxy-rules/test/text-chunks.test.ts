// A text in pieces is the same text, and pieces end with lines.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { joined, pieceText, TextChunks, type TextPiece } from '../src/text-chunks.ts'

const line = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  // Longer than what becomes bytes at once, and than the first pieces; some letters have three bytes.
  fc.integer({ min: 1, max: 90_000 }).map((length) => '€'.repeat(length)),
)
const step = fc.oneof(
  fc.array(line, { maxLength: 30 }).map((lines) => ({ lines, ofAnother: false })),
  fc.array(line, { maxLength: 5 }).map((lines) => ({ lines, ofAnother: true })),
)

const piecesOf = (lines: readonly string[]): readonly TextPiece[] => {
  const text = new TextChunks()
  for (const one of lines) text.add(one)
  return text.end()
}

test('the pieces are the lines that were added, in their order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
      const text = new TextChunks()
      for (const { lines, ofAnother } of steps) {
        if (ofAnother) text.append(piecesOf(lines))
        else for (const one of lines) text.add(one)
      }
      const pieces = text.end()
      const all = steps.flatMap(({ lines }) => lines)
      // What is half a letter is not one in bytes either.
      const expected = Buffer.from(all.map((one) => `${one}\n`).join('')).toString()
      expect(joined(pieces) === expected).toBe(true)
      for (const piece of pieces) expect(pieceText(piece).endsWith('\n')).toBe(true)
    }),
    { numRuns: 60 },
  )
})

test('a long text is in bytes, a short one needs no memory of its own', () => {
  const rule = '-A KUBE-SERVICES -m comment --comment "shop/web:http cluster IP" -j KUBE-SVC-AAAAAAAAAAAAAAAA'
  const long = piecesOf(Array.from({ length: 30_000 }, () => rule))
  expect(long.every((piece) => typeof piece === 'object')).toBe(true)
  expect(long.length).toBeLessThan(10)
  expect(piecesOf([rule])).toEqual([`${rule}\n`])
})
