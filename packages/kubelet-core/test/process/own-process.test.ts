// What is done to the kubelet's own process, and what its service manager hears.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileLimit } from '@nodelet/linux'
import { afterEach, beforeEach, expect, it, test } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'
import { startWatchdog, watchdogMs } from '../../src/process/watchdog.ts'
import type { HealthCheck } from '../../src/server/health.ts'
import { until } from '../until.ts'
import { startServiceManager } from './service-manager.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'own-process-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

test.each([
  [{}, undefined],
  [{ WATCHDOG_USEC: '30000000' }, 30_000],
  [{ WATCHDOG_USEC: '1000000', WATCHDOG_PID: '7' }, 1000],
  [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, undefined],
  [{ WATCHDOG_USEC: 'soon', WATCHDOG_PID: '8' }, undefined],
])('the service manager says %j: process 7 has %j ms', (variables, ms) => {
  expect(watchdogMs(variables, 7)).toBe(ms)
})

test.each(['999999', '-1', 'soon'])('a watchdog of %s us is refused', (time) => {
  expect(() => watchdogMs({ WATCHDOG_USEC: time }, 7)).toThrow(
    new RangeError(`WATCHDOG_USEC "${time}": must be at least 1000000`),
  )
})

it('the service manager hears twice in its time, but nothing while a check fails', async () => {
  const socket = join(folder, 'notify')
  await using manager = await startServiceManager(socket)
  const check: HealthCheck = { name: 'syncloop', problem: 'stands' }
  const since = performance.now()
  const log = silentLogger
  using _ = startWatchdog({ ms: 400, health: () => [{ name: 'ping' }, check], socket, clock: systemClock, log })
  setTimeout(() => delete check.problem, 500)
  await until(() => manager.said.length === 3)
  expect(manager.said).toEqual(['WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1'])
  // It was due at 0, 200 and 400 as well.
  expect(performance.now() - since).toBeGreaterThan(950)
})

/** What the process says of itself, while it lives. */
async function run(given: object, env: object = {}): Promise<AsyncDisposable & { answer: unknown }> {
  const args = ['--conditions=@nodelet/source', join(import.meta.dirname, 'run.ts'), folder, JSON.stringify(given)]
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    answer: JSON.parse(line.toString()),
    async [Symbol.asyncDispose]() {
      child.kill()
      await once(child, 'exit')
    },
  }
}

it('a process of its own is limited, and its service manager told that it is ready and well', async () => {
  const socket = join(folder, 'notify')
  await using manager = await startServiceManager(socket)
  const configuration = { oomScoreAdj: 300, maxOpenFiles: 4321, failSwapOn: false }
  await using one = await run({ ownProcess: true, configuration }, { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000000' })
  expect(one.answer).toEqual({ files: [4321, 4321], score: 300, warnings: [] })
  await until(() => manager.said.length >= 3)
  expect(manager.said.slice(0, 3)).toEqual(['READY=1', 'WATCHDOG=1', 'WATCHDOG=1'])
})

it('enableSystemdWatchdog: false says that it is ready, and no more', async () => {
  const socket = join(folder, 'notify')
  await using manager = await startServiceManager(socket)
  const configuration = { enableSystemdWatchdog: false, failSwapOn: false }
  await using _ = await run({ ownProcess: true, configuration }, { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000000' })
  await new Promise((resolve) => setTimeout(resolve, 700))
  expect(manager.said).toEqual(['READY=1'])
})

it('what may not be set is set as near as it may be, and told', async () => {
  const most = fileLimit().hard
  const configuration = { oomScoreAdj: 0, maxOpenFiles: 2 ** 40, failSwapOn: false }
  await using one = await run({ ownProcess: true, configuration })
  expect(one.answer).toEqual({ files: [most, most], score: 0, warnings: ['maxOpenFiles may not be so many here'] })
})

it('a process that is not its own stays as it is, and the log names what is left out', async () => {
  const { hard } = fileLimit()
  const configuration = { oomScoreAdj: 300, maxOpenFiles: 4321, failSwapOn: false }
  await using one = await run({ ownProcess: false, configuration })
  const warnings = ['these fields of the configuration change nothing here']
  expect(one.answer).toEqual({ files: [hard, hard], score: 0, warnings })
})
