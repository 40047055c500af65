import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { followKernelLog } from '../src/index.ts'
import { parseKernelRecords, recordsFrom } from '../src/kernel-log.ts'
import { descriptorsTo } from './descriptors.ts'

const device = '/dev/kmsg'
const fromOldest = constants.O_RDONLY | constants.O_NONBLOCK
let folder: string
let marks = 0

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-kmsg-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Nobody else writes this text. */
const mark = (): string => `nodelet-test ${process.pid} ${(marks += 1)}`

/** A line in the kernel's log as programs write it: not to be shown on a console. */
const say = (text: string): void => writeFileSync(device, `<7>${text}\n`)

const held = (path: string): number => descriptorsTo((target) => target === path)

function oldestSequence(): number {
  const fd = openSync(device, fromOldest)
  const buffer = Buffer.alloc(8192)
  try {
    return parseKernelRecords(buffer.toString('utf8', 0, readSync(fd, buffer)))[0]?.sequence ?? -1
  } finally {
    closeSync(fd)
  }
}

test.each([
  ['4,1339,5140900,-;text\n', [[0, 1339, 'text']]],
  [
    '6,1340,5690716,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n DEVICE=+x\n',
    [[0, 1340, 'NET: Registered protocol family 10']],
  ],
  ['12,1341,5690717,-,caller=T1;a;b,c\n', [[1, 1341, 'a;b,c']]],
  [
    '30,9,1,c;daemon\n3,10,2,-;\n',
    [
      [3, 9, 'daemon'],
      [0, 10, ''],
    ],
  ],
  ['3,11,3,-;w\\xc3\\xb6rld \\x5cx41\\x0atwo\n', [[0, 11, 'wörld \\x41\ntwo']]],
  ['nonsense\n,,,;\n 4,1,1,-;a field\n', []],
])('%j', (read, expected) => {
  const records = parseKernelRecords(read)
  expect(records.map(({ facility, sequence, text }) => [facility, sequence, text])).toEqual(expected)
})

test('what comes is told in order and as of a program, what was there is not; ends with the signal', async () => {
  const [before, first, last] = [mark(), mark(), mark()]
  say(before)
  const ending = new AbortController()
  const told: { facility: number; text: string }[] = []
  const done = (async () => {
    for await (const { facility, text } of followKernelLog({ signal: ending.signal })) told.push({ facility, text })
  })()
  say(first)
  writeFileSync(device, `<0>${last}\n`) // it says that it is the kernel
  const ours = () => told.filter(({ text }) => text.startsWith(`nodelet-test ${process.pid} `))
  await expect.poll(ours, { interval: 5 }).toEqual([
    { facility: 1, text: first },
    { facility: 1, text: last },
  ])
  ending.abort()
  await done
  expect(held(device)).toBe(0)
})

test('records that are overwritten are passed over, and the reading goes on', async ({ skip }) => {
  const oldest = oldestSequence()
  const fd = openSync(device, fromOldest)
  for (let line = 0; line < 4; line += 1) say(`${mark()} ${'.'.repeat(900)}`)
  const last = mark()
  say(last)
  const isFull = oldestSequence() > oldest
  const sequences: number[] = []
  for await (const { sequence, text } of recordsFrom(fd, device, undefined)) {
    sequences.push(sequence)
    if (text === last) break
  }
  expect(sequences).toEqual(sequences.toSorted((a, b) => a - b))
  expect(held(device)).toBe(0)
  if (!isFull) skip('the ring of this kernel is not full yet: nothing was overwritten')
  expect(sequences[0]).toBeGreaterThan(oldest)
})

test('a pipe is read until its writers have closed it', async () => {
  const path = join(folder, 'pipe')
  execFileSync('mkfifo', [path])
  const writer = openSync(path, constants.O_RDWR)
  const texts: string[] = []
  writeSync(writer, '6,1,1,-;one\n KEY=value\n6,2,2,-;two\n')
  for await (const { text } of followKernelLog({ path })) {
    texts.push(text)
    if (text === 'two') closeSync(writer)
  }
  expect(texts).toEqual(['one', 'two'])
})

test.each(['/dev/null', '/dev/zero', '/etc/passwd', '/dev/no-such-log'])('%s is refused', async (path) => {
  const before = held(path)
  await expect(followKernelLog({ path }).next()).rejects.toThrow(
    path.includes('no-such') ? 'ENOENT' : `${path} is not the kernel's log`,
  )
  expect(held(path)).toBe(before)
})
