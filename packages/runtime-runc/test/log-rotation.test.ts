// A container that writes as fast as it can while its log is moved away under it.
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeFixture, until } from './fixture.ts'

let f: Awaited<ReturnType<typeof makeFixture>>
beforeAll(async () => {
  f = await makeFixture()
})
afterAll(() => f[Symbol.asyncDispose]())

/** Around the sizes at which conmon and other runtimes cut a line. */
const SIZES = [0, 1, 100, 4000, 8184, 8190, 8191, 8192, 8193, 16_383, 16_384, 16_385, 40_000]
const LINES = 650

/**
 * Numbered lines of all sizes on both streams at once, the last one without a newline.
 * @param goOn an awk condition on the number of lines so far, `i`
 */
const flood = (goOn: string): string => {
  const program =
    `BEGIN { n = split("${SIZES.join(' ')}", size, " "); pad = "x"; while (length(pad) < 40000) pad = pad pad; ` +
    `for (i = 0; ${goOn}; i++) printf "%d:%s\\n", i, substr(pad, 1, size[i % n + 1]); printf "%d:rest", i }`
  return `busybox awk '${program}' & busybox awk '${program}' >&2; wait`
}

const lineAt = (index: number): string => `${index}:${'x'.repeat(SIZES[index % SIZES.length] ?? 0)}`

const path = (name: string): string => join(f.folder, 'logs', name)

/** The lines of a stream over all files in their order; the text after the last F is the last. */
function linesOf(files: readonly string[], stream: string): string[] {
  const lines: string[] = []
  let part = ''
  for (const line of files.flatMap((file) => readFileSync(file, 'utf8').split('\n').slice(0, -1))) {
    const [, from, tag, content = ''] =
      /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}[+-]\d\d:\d\d (\S+) ([PF]) (.*)$/.exec(line) ?? []
    if (from === undefined) throw new Error(`not a line of a log: ${line.slice(0, 100)}`)
    if (from !== stream) continue
    part += content
    if (tag !== 'F') continue
    lines.push(part)
    part = ''
  }
  return [...lines, part]
}

/** @param least how many lines each stream has before its rest */
function expectWhole(files: readonly string[], least: number): void {
  for (const stream of ['stdout', 'stderr']) {
    const found = linesOf(files, stream)
    expect(found.at(-1)).toBe(`${found.length - 1}:rest`)
    expect(found.slice(0, -1).findIndex((line, index) => line !== lineAt(index))).toBe(-1)
    expect(found.length).toBeGreaterThan(least)
  }
}

test('each line once, whole and in order, while the log is rotated to the end and the runtime starts anew', async () => {
  const name = 'flood.log'
  // It writes until it is told to stop, however slow the machine is, and goes on for a while after that.
  const goOn = `(stop || (stop = (getline word < "/stop") > 0 ? i : 0)) ? i < stop + ${LINES} : 1`
  const id = await f.containers.create(f.options(flood(goOn), { logPath: name }))
  await f.containers.start(id)
  const files: string[] = []
  for (let turn = 0; f.containers.status(id).phase === 'running'; turn++) {
    if (turn === 6) await f.containers.execSync(id, ['busybox', 'sh', '-c', 'echo stop > /stop'])
    const moved = path(`${name}.${turn}`)
    renameSync(path(name), moved)
    files.push(moved)
    try {
      await f.containers.reopenLog(id)
    } catch (error) {
      // The container has ended in between: what it said is in the file that was moved.
      expect(String(error)).toMatch(/is not running|no conmon listens|has just ended/)
      break
    }
    if (turn === 5) await f.reopen()
  }
  await f.containers.wait(id)
  expect(files.length).toBeGreaterThan(6)
  expectWhole([...files, ...(existsSync(path(name)) ? [path(name)] : [])], LINES)
})

test('a log that nobody moved is kept', async () => {
  const name = 'kept.log'
  const id = await f.containers.create(f.options('echo before; read x; echo after', { logPath: name, stdin: true }))
  await f.containers.start(id)
  await until(() => f.logLines(name).length === 1, 'the first line')
  await f.containers.reopenLog(id)
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(linesOf([path(name)], 'stdout')).toEqual(['before', ''])
  await f.containers.stop(id, 0)
})

test('several that ask at once lose nothing', async () => {
  const name = 'many.log'
  const id = await f.containers.create(f.options(`${flood(`i < ${LINES}`)}; sleep 1000`, { logPath: name }))
  await f.containers.start(id)
  const files: string[] = []
  for (let turn = 0; turn < 5; turn++) {
    const moved = path(`${name}.${turn}`)
    renameSync(path(name), moved)
    files.push(moved)
    await Promise.all(Array.from({ length: 8 }, () => f.containers.reopenLog(id)))
  }
  files.push(path(name))
  await until(
    () => ['stdout', 'stderr'].every((stream) => linesOf(files, stream).at(-1) === `${LINES}:rest`),
    'all lines',
    15_000,
  )
  expectWhole(files, LINES)
  await f.containers.stop(id, 0)
})
