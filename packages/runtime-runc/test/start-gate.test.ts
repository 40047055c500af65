import { closeSync, constants, existsSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished, startProgram } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { killNow, processRef } from '../src/pids.ts'
import { openStartGate, startGateOf } from '../src/start-gate.ts'
import { makeFixture } from './fixture.ts'

const who = { limitMs: 10_000 }
let folder: string
let fifo: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'start-gate-'))
  fifo = join(folder, 'exec.fifo')
})
afterAll(() => rmSync(folder, { recursive: true }))

const shell = (script: string, stdin: 'ignore' | 'pipe' = 'ignore') =>
  startProgram('sh', ['-c', script], { stdio: [stdin, 'pipe', 'pipe'] })
const makeFifo = async (): Promise<void> => void (await shell(`mkfifo ${fifo}`).ended)

test.each([
  ['runc version 1.1.5+ds1\ncommit: 1', 'writes'],
  ['crun version 1.8.1\ncommit: 2', 'reads'],
  ['youki version 0.5', undefined],
  ['', undefined],
])('%j waits as one that %s', (version, kind) => {
  expect(startGateOf(version)).toBe(kind)
})

test('a program that waits to write is let go by a reader, and the FIFO goes', async () => {
  await makeFifo()
  const program = shell(`printf 0 > ${fifo}; echo gone`)
  await new Promise((resolve) => setTimeout(resolve, 200)) // a look too early would take the FIFO away
  expect(await openStartGate(fifo, 'writes', who)).toBe(true)
  expect(await finished(program)).toMatchObject({ code: 0, stdout: 'gone\n' })
  expect(existsSync(fifo)).toBe(false)
})

test('a program that ends instead of coming to write is not waited for, and the FIFO stays', async () => {
  await makeFifo()
  const program = shell('exec sleep 600')
  const init = processRef(program.pid)
  const opened = openStartGate(fifo, 'writes', { init, limitMs: 600_000 })
  killNow(program.pid)
  expect(await opened).toBe(false)
  expect(await openStartGate(fifo, 'writes', { init, limitMs: 600_000 })).toBe(false)
  expect(existsSync(fifo)).toBe(true)
  rmSync(fifo)
})

test('a program that has come and ended before we look was let go', async () => {
  await makeFifo()
  const held = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK) // keeps its byte
  const program = shell(`read go; printf 0 > ${fifo}`, 'pipe')
  const init = processRef(program.pid)
  program.stdin?.end('\n')
  await program.ended
  expect(await openStartGate(fifo, 'writes', { init, limitMs: 600_000 })).toBe(true)
  expect(existsSync(fifo)).toBe(false)
  closeSync(held)
})

test('a program that waits to read is let go by a byte, and the FIFO goes', async () => {
  await makeFifo()
  expect(await openStartGate(fifo, 'reads', who)).toBe(false) // nobody is there yet: it stays
  const program = shell(`head -c1 ${fifo} | wc -c`)
  await expect.poll(() => openStartGate(fifo, 'reads', who)).toBe(true)
  expect(await finished(program)).toMatchObject({ code: 0, stdout: '1\n' })
  expect(existsSync(fifo)).toBe(false)
})

test.each(['reads', 'writes'] as const)(
  'where there is no FIFO of one that %s, the runtime is to be asked',
  async (kind) => {
    expect(await openStartGate(fifo, kind, who)).toBe(false)
  },
)

test('a container is started without a process of the runtime', async () => {
  await using f = await makeFixture()
  const id = await f.containers.create(f.options('exit 7'))
  const gate = join(f.folder, 'run/runc', id, 'exec.fifo')
  expect(existsSync(gate)).toBe(true)
  await f.containers.start(id)
  expect(existsSync(gate)).toBe(false)
  expect(await f.containers.wait(id)).toMatchObject({ exitCode: 7 })
})
