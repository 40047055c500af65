// A daemon that is killed and started again while something goes on.
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { ContainerState } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

const { CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState

let daemon: Daemon
let pod: string
let before: string[]
beforeAll(async () => {
  daemon = await makeDaemon()
  const first = await daemon.runPod()
  await daemon.run(first, 'true')
  await daemon.runtime.removePodSandbox({ podSandboxId: first })
})
afterAll(async () => daemon[Symbol.asyncDispose]())
beforeEach(async () => {
  before = await daemon.state()
  pod = await daemon.runPod()
})
afterEach(async () => {
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  await daemon.expectState(before)
  expect(daemon.problems.splice(0)).toEqual([])
})

async function restart(): Promise<void> {
  await daemon.kill()
  await daemon.start()
}

test('while the grace period of a stop runs: the next stop sends the signal again', async () => {
  const id = await daemon.run(pod, "n=0; trap 'n=$((n+1)); echo got $n' TERM; echo ready; while :; do sleep 0.05; done")
  await expect.poll(() => daemon.log(id)).toContain('ready')
  const stop = async (timeout: bigint) => daemon.runtime.stopContainer({ containerId: id, timeout })
  const cut = expect(stop(600n)).rejects.toThrow()
  await expect.poll(() => daemon.log(id)).toContain('got 1')
  await restart()
  await cut
  expect((await daemon.status(id))?.state).toBe(CONTAINER_RUNNING)
  const again = stop(600n)
  await expect.poll(() => daemon.log(id)).toContain('got 2')
  await stop(0n)
  await again
  expect(await daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 137 })
})

test('while many containers end at once: every exit code is known', async () => {
  const ids = await Promise.all(
    Array.from({ length: 8 }, async (_, code) =>
      daemon.run(pod, `trap "exit ${code + 10}" TERM; echo ready; while :; do sleep 0.05; done`),
    ),
  )
  for (const id of ids) await expect.poll(() => daemon.log(id)).toContain('ready')
  const inits = ids.map((id) => daemon.initOf(id))
  for (const init of inits) process.kill(init, 'SIGTERM')
  await restart()
  for (const [code, id] of ids.entries()) {
    await expect
      .poll(async () => daemon.status(id))
      .toMatchObject({ state: CONTAINER_EXITED, exitCode: code + 10, reason: 'Error' })
  }
})

test('while a container runs out of memory: it is said to be OOMKilled', async () => {
  const limits = { resources: { memoryLimitInBytes: 16n << 20n } }
  const eater = await daemon.run(pod, 'sleep 0.3; tail /dev/zero', { linux: limits })
  await daemon.kill()
  const init = daemon.initOf(eater)
  await expect.poll(() => existsSync(`/proc/${init}`), { timeout: 20_000 }).toBe(false)
  await daemon.start()
  await expect
    .poll(async () => daemon.status(eater))
    .toMatchObject({ state: CONTAINER_EXITED, reason: 'OOMKilled', exitCode: 137 })
})

test('while a log is rotated: no line is lost or torn', async () => {
  const id = await daemon.run(pod, 'n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo line $n; sleep 0.005; done')
  const path = (await daemon.status(id))?.logPath ?? ''
  await expect.poll(() => daemon.log(id)).toContain('line 20')
  renameSync(path, `${path}.1`)
  await restart()
  await daemon.runtime.reopenContainerLog({ containerId: id })
  await expect.poll(async () => (await daemon.status(id))?.state, { timeout: 20_000 }).toBe(CONTAINER_EXITED)
  const text = readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8')
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' ').slice(1).join(' '))
  expect(lines).toEqual(Array.from({ length: 400 }, (_, n) => `stdout F line ${n + 1}`))
})
