// Which images go, and how much must be freed.
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { bytesToFree, expired, type KnownImage, removable } from '../../src/image-gc/plan.ts'

const image = (id: string, more: Partial<KnownImage> = {}): KnownImage => ({
  id,
  bytes: 10n,
  pinned: false,
  used: false,
  firstSeenMs: 0,
  lastUsedMs: 0,
  ...more,
})
const ids = (images: readonly KnownImage[]): string[] => images.map(({ id }) => id)

describe('what may go', () => {
  it('is neither used nor pinned nor young; the longest unused goes first, then the first seen', () => {
    const all = [
      image('used', { used: true }),
      image('pinned', { pinned: true }),
      image('young', { firstSeenMs: 900 }),
      image('lately', { lastUsedMs: 500 }),
      image('later', { firstSeenMs: 20 }),
      image('first', { firstSeenMs: 10 }),
    ]
    expect(ids(removable(all, 1000, 200))).toEqual(['first', 'later', 'lately'])
    expect(ids(removable(all, 1000, 0))).toEqual(['first', 'later', 'young', 'lately'])
  })

  it('expires when it is unused for too long, counted from the start of the kubelet at the earliest', () => {
    const all = [image('never used'), image('used at 600', { lastUsedMs: 600 })]
    expect(ids(expired(all, 1000, 0, 0))).toEqual([])
    expect(ids(expired(all, 1000, 500, 0))).toEqual(['never used'])
    expect(ids(expired(all, 1000, 500, 700))).toEqual([])
    expect(ids(expired(all, 1201, 500, 700))).toEqual(['never used', 'used at 600'])
  })
})

describe('how much goes', () => {
  test.each([
    { available: 16n, high: 85, low: 80, wanted: 0n },
    { available: 15n, high: 85, low: 80, wanted: 5n },
    { available: 0n, high: 85, low: 80, wanted: 20n },
    { available: 0n, high: 100, low: 80, wanted: 0n },
    { available: 100n, high: 0, low: 0, wanted: 0n },
  ])('of 100 with $available left, from $high down to $low: $wanted', ({ available, high, low, wanted }) => {
    expect(bytesToFree({ capacity: 100n, available }, high, low)).toBe(wanted)
  })

  it('is such that afterwards the disk is at the low threshold', () => {
    const disk = fc
      .record({ capacity: fc.bigInt(1n, 10n ** 15n), part: fc.integer({ min: 0, max: 1000 }) })
      .map(({ capacity, part }) => ({ capacity, available: (capacity * BigInt(part)) / 1000n }))
    fc.assert(
      fc.property(disk, fc.integer({ min: 1, max: 99 }), fc.nat(98), (found, high, below) => {
        const low = Math.min(below, high - 1)
        const wanted = bytesToFree(found, high, low)
        if (wanted <= 0n) return
        const after = found.available + wanted
        expect(after).toBe((found.capacity * BigInt(100 - low)) / 100n)
        expect(bytesToFree({ ...found, available: after }, high, low) <= 0n).toBe(true)
      }),
    )
  })
})
