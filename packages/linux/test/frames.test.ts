import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openFrames, openNetlink, pinNamespaces, unpinNamespace } from '../src/index.ts'
import type { FilterInstruction } from '../src/index.ts'

/** For local experiments. */
const protocol = 0x88b5
const headBytes = 14
let folder: string
let netns: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-frames-'))
  netns = join(folder, 'net')
  pinNamespaces({ paths: { net: netns } })
})
afterEach(() => {
  unpinNamespace(netns)
  rmSync(folder, { recursive: true })
})

async function makePair(): Promise<{ one: number; two: number }> {
  using netlink = openNetlink({ netns })
  const { index: one, peer: two = 0 } = await netlink.links.add({ kind: 'veth', name: 'one', peer: { name: 'two' } })
  // The one that sends comes up last: of a link that waits for its peer, the kernel drops what is sent until it has noticed that.
  await netlink.links.set('two', { up: true })
  await netlink.links.set('one', { up: true })
  return { one, two }
}

const frameOf = (text: string): Buffer => {
  const frame = Buffer.alloc(headBytes + text.length)
  frame.fill(0xff, 0, 6)
  frame.writeUInt16BE(protocol, 12)
  frame.write(text, headBytes)
  return frame
}

/** Returns what comes out at the other end. */
async function sendAll(texts: readonly string[], filter?: readonly FilterInstruction[]): Promise<string[]> {
  const { one, two } = await makePair()
  const [from, to] = [
    openFrames({ netns, link: one, protocol }),
    openFrames({ netns, link: two, protocol, ...(filter && { filter }) }),
  ]
  const seen: string[] = []
  to.on('data', (frame: Buffer) => seen.push(frame.subarray(headBytes).toString()))
  try {
    for (const text of texts) await new Promise((resolve) => from.write(frameOf(text), resolve))
    await expect.poll(() => seen.at(-1)).toBe(texts.at(-1))
    return seen
  } finally {
    from.destroy()
    to.destroy()
  }
}

test('each write is a frame, and so is each event', async () => {
  expect(await sendAll(['a', 'bb', 'ccc'])).toEqual(['a', 'bb', 'ccc'])
})

test('the kernel leaves out what the filter does not take', async () => {
  // The first byte after the head must not be x.
  const filter: FilterInstruction[] = [
    [0x30, 0, 0, headBytes],
    [0x15, 0, 1, 'x'.charCodeAt(0)],
    [0x06, 0, 0, 0],
    [0x06, 0, 0, 0xffff],
  ]
  expect(await sendAll(['x1', 'a', 'x2', 'b'], filter)).toEqual(['a', 'b'])
})

test('a link that goes ends the stream', async () => {
  const { one, two } = await makePair()
  const frames = openFrames({ netns, link: two, protocol })
  const failed = once(frames, 'error')
  frames.resume()
  using netlink = openNetlink({ netns })
  await netlink.links.delete(one)
  expect((await failed)[0]).toMatchObject({ code: 'ENETDOWN' })
  frames.destroy()
})

test('a link that is not there, and a filter that is no program, are refused', async () => {
  expect(() => openFrames({ netns, link: 4711, protocol })).toThrow('ENODEV: bind link 4711')
  const { one } = await makePair()
  expect(() => openFrames({ netns, link: one, protocol, filter: [[0xff, 0, 0, 0]] })).toThrow('EINVAL: attachFilter')
})
