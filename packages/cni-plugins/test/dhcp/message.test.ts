import fc from 'fast-check'
import { addressText } from '@nodelet/linux'
import { expect, test } from 'vitest'
import { checksum, everybody, frameOf, messageIn } from '../../src/plugins/dhcp/frame.ts'
import { decodeMessage, encodeMessage, option } from '../../src/plugins/dhcp/message.ts'
import type { DhcpMessage } from '../../src/plugins/dhcp/message.ts'

const bytes = (minLength: number, maxLength = minLength): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((value) => Buffer.from(value))
const address = bytes(4).map(addressText)
const code = fc.integer({ min: 1, max: 254 }).filter((one) => one !== option.overload)
const message: fc.Arbitrary<DhcpMessage> = fc.record({
  kind: fc.constantFrom('request' as const, 'reply' as const),
  transaction: fc.nat(0xffff_ffff),
  broadcast: fc.boolean(),
  clientAddress: address,
  yourAddress: address,
  mac: bytes(6),
  options: fc.uniqueArray(fc.tuple(code, bytes(0, 600)), { selector: ([one]) => one }).map((all) => new Map(all)),
})
const plain: DhcpMessage = {
  kind: 'reply',
  transaction: 1,
  broadcast: false,
  clientAddress: '0.0.0.0',
  yourAddress: '10.0.0.9',
  mac: Buffer.alloc(6, 2),
  options: new Map([[option.messageType, Buffer.from([5])]]),
}

test('what is encoded is decoded again', () => {
  fc.assert(
    fc.property(message, (one) => {
      const encoded = encodeMessage(one)
      expect(encoded.length).toBeGreaterThanOrEqual(300)
      expect(decodeMessage(encoded)).toEqual(one)
    }),
  )
})

test('no bytes are too strange: they are a message or none', () => {
  const head = encodeMessage(plain).subarray(0, 240)
  fc.assert(fc.property(bytes(0, 700), (tail) => void decodeMessage(tail)))
  fc.assert(
    fc.property(bytes(0, 400), (tail) => {
      const decoded = decodeMessage(Buffer.concat([head, tail]))
      const room = [...(decoded?.options.values() ?? [])].reduce((sum, value) => sum + value.length, 0)
      expect(room).toBeLessThanOrEqual(tail.length + 192) // with the fields that options may go on in
    }),
  )
  // One that a bit of was changed on the way.
  fc.assert(
    fc.property(message, fc.nat(), fc.nat(7), (one, where, bit) => {
      const encoded = encodeMessage(one)
      encoded[where % encoded.length]! ^= 1 << bit
      decodeMessage(encoded)
    }),
  )
})

const withOptions = (...tail: number[]): Buffer =>
  Buffer.concat([encodeMessage(plain).subarray(0, 240), Buffer.from(tail)])

test.each<[what: string, bytes: Buffer, expected: [number, number[]][] | undefined]>([
  ['options without an end', withOptions(53, 1, 5), [[53, [5]]]],
  ['padding between', withOptions(0, 0, 53, 1, 5, 0, 255, 7), [[53, [5]]]],
  [
    'parts of one option',
    withOptions(121, 2, 1, 2, 53, 1, 5, 121, 1, 3, 255),
    [
      [121, [1, 2, 3]],
      [53, [5]],
    ],
  ],
  ['an option that is cut off', withOptions(53, 1, 5, 1, 4, 255), undefined],
  ['an option without a length', withOptions(53), undefined],
  ['no options', withOptions(), []],
  ['another cookie', Buffer.alloc(300), undefined],
  ['too few bytes', Buffer.alloc(239), undefined],
])('%s', (_, given, expected) => {
  const options = decodeMessage(given)?.options
  expect(options && [...options].map(([one, value]) => [one, [...value]])).toEqual(expected)
})

test('options go on in the fields for file and name where the server says so', () => {
  const given = withOptions(option.overload, 1, 3, 53, 1, 5, 255)
  given.set([1, 2, 255, 255, 255], 108)
  given.set([1, 2, 0, 0, 3, 1, 9, 255], 44)
  expect([...(decodeMessage(given)?.options ?? [])].map(([one, value]) => [one, [...value]])).toEqual([
    [53, [5]],
    [1, [255, 255, 0, 0]],
    [3, [9]],
  ])
})

test('frames hold their message, whatever is around them', () => {
  const from = { mac: Buffer.from([2, 0, 0, 0, 0, 1]), address: '10.0.0.9' }
  fc.assert(
    fc.property(bytes(0, 1400), bytes(0, 40), (content, padding) => {
      const frame = frameOf(from, everybody, content)
      expect(checksum(frame.subarray(14, 34))).toBe(0)
      const udp = frame.subarray(34)
      const pseudo = Buffer.concat([frame.subarray(26, 34), Buffer.from([0, 17, udp.length >> 8, udp.length & 0xff])])
      expect(checksum(Buffer.concat([pseudo, udp]))).toBe(0)
      // To a client it goes the other way.
      frame.writeUInt16BE(67, 34)
      frame.writeUInt16BE(68, 36)
      expect(messageIn(Buffer.concat([frame, padding]))).toEqual({ from, message: content })
    }),
  )
})

test('other frames are none, and none is too strange', () => {
  fc.assert(fc.property(bytes(0, 200), (frame) => void messageIn(frame)))
  const frame = frameOf({ mac: Buffer.alloc(6), address: '10.0.0.1' }, everybody, Buffer.alloc(300))
  expect(messageIn(frame)).toBeUndefined() // to a server
  frame.writeUInt16BE(67, 34)
  frame.writeUInt16BE(68, 36)
  expect(messageIn(frame)).toMatchObject({ message: Buffer.alloc(300) })
  fc.assert(
    fc.property(fc.nat(13 + 8), fc.nat(7), (where, bit) => {
      const changed = Buffer.from(frame)
      changed[where + 12]! ^= 1 << bit
      expect(messageIn(changed)).toBeUndefined() // its type, or the sum of its head
    }),
  )
  for (let length = 0; length < frame.length; length += 1) expect(messageIn(frame.subarray(0, length))).toBeUndefined()
})
