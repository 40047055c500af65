// A daemon that is killed and started again while something goes on.
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { ContainerState } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { useDaemon } from './use-daemon.ts'

const { CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState

const at = useDaemon()

async function restart(): Promise<void> {
  await at.daemon.kill()
  await at.daemon.start()
}

test('while the grace period of a stop runs: the next stop sends the signal again', async () => {
  const id = await at.daemon.run(
    at.pod,
    "n=0; trap 'n=$((n+1)); echo got $n' TERM; echo ready; while :; do sleep 0.05; done",
  )
  await expect.poll(() => at.daemon.log(id)).toContain('ready')
  const stop = async (timeout: bigint) => at.daemon.runtime.stopContainer({ containerId: id, timeout })
  const cut = expect(stop(600n)).rejects.toThrow()
  await expect.poll(() => at.daemon.log(id)).toContain('got 1')
  await restart()
  await cut
  expect((await at.daemon.status(id))?.state).toBe(CONTAINER_RUNNING)
  const again = stop(600n)
  await expect.poll(() => at.daemon.log(id)).toContain('got 2')
  await stop(0n)
  await again
  expect(await at.daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 137 })
})

test('while many containers end at once: every exit code is known', async () => {
  const ids = await Promise.all(
    Array.from({ length: 8 }, async (_, code) =>
      at.daemon.run(at.pod, `trap "exit ${code + 10}" TERM; echo ready; while :; do sleep 0.05; done`),
    ),
  )
  for (const id of ids) await expect.poll(() => at.daemon.log(id)).toContain('ready')
  const inits = ids.map((id) => at.daemon.initOf(id))
  for (const init of inits) process.kill(init, 'SIGTERM')
  await restart()
  for (const [code, id] of ids.entries()) {
    await expect
      .poll(async () => at.daemon.status(id))
      .toMatchObject({ state: CONTAINER_EXITED, exitCode: code + 10, reason: 'Error' })
  }
})

test('while a container runs out of memory: it is said to be OOMKilled', async () => {
  const limits = { resources: { memoryLimitInBytes: 16n << 20n } }
  const eater = await at.daemon.run(at.pod, 'sleep 0.3; tail /dev/zero', { linux: limits })
  await at.daemon.kill()
  const init = at.daemon.initOf(eater)
  await expect.poll(() => existsSync(`/proc/${init}`)).toBe(false)
  await at.daemon.start()
  await expect
    .poll(async () => at.daemon.status(eater))
    .toMatchObject({ state: CONTAINER_EXITED, reason: 'OOMKilled', exitCode: 137 })
})

test('while a log is rotated: no line is lost or torn', async () => {
  const id = await at.daemon.run(at.pod, 'n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo line $n; sleep 0.005; done')
  const path = (await at.daemon.status(id))?.logPath ?? ''
  await expect.poll(() => at.daemon.log(id)).toContain('line 20')
  renameSync(path, `${path}.1`)
  await restart()
  await at.daemon.runtime.reopenContainerLog({ containerId: id })
  await expect.poll(async () => (await at.daemon.status(id))?.state).toBe(CONTAINER_EXITED)
  const text = readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8')
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' ').slice(1).join(' '))
  expect(lines).toEqual(Array.from({ length: 400 }, (_, n) => `stdout F line ${n + 1}`))
})
