import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readLog } from '../../src/server/log-file.ts'
import { parseLogLine, printTime } from '../../src/server/log-line.ts'
import { parseLogOptions } from '../../src/server/log-options.ts'

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kubelet-log-'))
  path = join(folder, '0.log')
})
afterEach(() => rmSync(folder, { recursive: true }))

const second = (count: number): string => `2026-11-23T08:00:${String(count).padStart(2, '0')}.5+00:00`
const line = (count: number, text: string, tag = 'F', stream = 'stdout'): string =>
  `${second(count)} ${stream} ${tag} ${text}\n`
const never = (signal: AbortSignal): Promise<void> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('left'))))

interface Reading {
  text(): string
  done: Promise<void>
  leave(): void
}

function read(query: string, ended: (signal: AbortSignal) => Promise<void> = never): Reading {
  const options = parseLogOptions(new URLSearchParams(query), Date.parse('2026-11-23T08:00:10Z'))
  const left = new AbortController()
  let text = ''
  const run = async (): Promise<void> => {
    for await (const piece of readLog({ path, options, ended, signal: left.signal })) text += piece.toString()
  }
  return { text: () => text, done: run(), leave: () => left.abort() }
}

async function textOf(query: string): Promise<string> {
  const reading = read(query)
  await reading.done
  return reading.text()
}

async function until(done: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5000; !done();) {
    if (Date.now() > deadline) throw new Error('timed out')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const several =
  line(1, 'one') +
  line(2, 'two-', 'P') +
  line(3, 'two-', 'P') +
  line(4, 'two') +
  line(5, 'err', 'F', 'stderr') +
  'garbage\n' +
  line(6, '') +
  line(7, 'seven')

test.each([
  ['', 'one\ntwo-two-two\nerr\n\nseven\n'],
  ['tailLines=2', '\nseven\n'],
  ['tail=2', '\nseven\n'],
  ['tail=all', 'one\ntwo-two-two\nerr\n\nseven\n'],
  ['tailLines=0', ''],
  ['tailLines=100', 'one\ntwo-two-two\nerr\n\nseven\n'],
  ['limitBytes=7', 'one\ntwo'],
  ['sinceSeconds=4', '\nseven\n'],
  ['sinceTime=2026-11-23T08:00:05Z', 'err\n\nseven\n'],
  ['sinceTime=2026-11-23T09:00:07%2B01:00', 'seven\n'],
  ['stream=Stderr', 'err\n'],
  ['stream=Stdout&limitBytes=4', 'one\n'],
  ['tailLines=1&timestamps=true', '2026-11-23T08:00:07.500000000Z seven\n'],
  [
    'timestamps=true&sinceSeconds=9&limitBytes=83',
    '2026-11-23T08:00:01.500000000Z one\n2026-11-23T08:00:02.500000000Z two-two-two\n2026-',
  ],
])('reads with %s', async (query, expected) => {
  writeFileSync(path, several)
  expect(await textOf(query)).toBe(expected)
})

test('reads a last line without its newline, and an empty log', async () => {
  writeFileSync(path, `${line(1, 'one')}${second(2)} stdout F un`)
  expect(await textOf('')).toBe('one\nun')
  writeFileSync(path, '')
  expect(await textOf('tailLines=5')).toBe('')
})

test('reads and tails logs larger than its buffer', async () => {
  const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index} ${'x'.repeat(index % 90)}`)
  writeFileSync(path, lines.map((text) => line(1, text)).join(''))
  expect(await textOf('')).toBe(`${lines.join('\n')}\n`)
  expect(await textOf('tailLines=5000')).toBe(`${lines.slice(-5000).join('\n')}\n`)
  writeFileSync(path, line(1, 'y'.repeat(300_000)))
  expect((await textOf('')).length).toBe(300_001)
})

test('follows new lines, cut anywhere, through a rotation, to the end of the container', async () => {
  writeFileSync(path, line(1, 'old') + line(2, 'one'))
  const end = Promise.withResolvers<void>()
  const reading = read('follow=true&tailLines=1', () => end.promise)
  await until(() => reading.text() === 'one\n')
  const next = line(3, 'two')
  appendFileSync(path, next.slice(0, 20))
  appendFileSync(path, next.slice(20))
  await until(() => reading.text().endsWith('two\n'))
  renameSync(path, `${path}.20261123-080000`)
  appendFileSync(`${path}.20261123-080000`, line(4, 'three'))
  await until(() => reading.text().endsWith('three\n'))
  appendFileSync(`${path}.20261123-080000`, line(5, 'four'))
  writeFileSync(path, line(6, 'five'))
  await until(() => reading.text().endsWith('five\n'))
  appendFileSync(path, line(7, 'six'))
  end.resolve()
  await reading.done
  expect(reading.text()).toBe('one\ntwo\nthree\nfour\nfive\nsix\n')
})

test('a follower that leaves, or has what it asked for, is done; so is one of an ended container', async () => {
  writeFileSync(path, line(1, 'one'))
  const leaving = read('follow=1')
  await until(() => leaving.text() === 'one\n')
  leaving.leave()
  await leaving.done
  const limited = read('follow=1&limitBytes=5')
  appendFileSync(path, line(2, 'two'))
  await limited.done
  expect(limited.text()).toBe('one\nt')
  const late = read('follow=1', () => Promise.resolve())
  await late.done
  expect(late.text()).toBe('one\ntwo\n')
})

test.each([
  ['tailLines=x', 400, '{"message": "Unable to decode query."}'],
  ['sinceTime=yesterday', 400, '{"message": "Unable to decode query."}'],
  ['tailLines=-1', 422, '{"message": "Invalid request."}'],
  ['limitBytes=0', 422, '{"message": "Invalid request."}'],
  ['sinceSeconds=0', 422, '{"message": "Invalid request."}'],
  ['sinceSeconds=1&sinceTime=2026-11-23T08:00:05Z', 422, '{"message": "Invalid request."}'],
  ['stream=Stdout&tailLines=1', 422, '{"message": "Invalid request."}'],
  ['stream=stdin', 422, '{"message": "Invalid request."}'],
])('refuses %s', (query, status, message) => {
  let caught: unknown
  try {
    parseLogOptions(new URLSearchParams(query), 0)
  } catch (error) {
    caught = error
  }
  expect(caught).toMatchObject({ status })
  expect((caught as Error).message).toBe(message)
})

test.each([
  ['2026-11-23T08:00:01Z stdout F a b\n', { stream: 'stdout', text: 'a b\n' }],
  ['2026-11-23T08:00:01Z stderr P:x a\n', { stream: 'stderr', text: 'a' }],
  ['2026-11-23T08:00:01Z stdout F \n', { stream: 'stdout', text: '\n' }],
  ['2026-11-23T08:00:01Z stdin F a\n', undefined],
  ['then stdout F a\n', undefined],
  ['2026-11-23T08:00:01Z stdout\n', undefined],
])('parses %j', (raw, expected) => {
  const parsed = parseLogLine(Buffer.from(raw))
  expect(parsed && { stream: parsed.stream, text: parsed.text.toString() }).toEqual(expected)
})

test.each([
  ['2026-11-23T08:00:01Z', '2026-11-23T08:00:01.000000000Z'],
  ['2026-11-23T08:00:01.12+00:00', '2026-11-23T08:00:01.120000000Z'],
  ['2026-11-23T08:00:01.123456789-05:30', '2026-11-23T08:00:01.123456789-05:30'],
])('prints %s as %s', (time, expected) => {
  expect(printTime(time)).toBe(expected)
})
