// A daemon that is killed at each step of a container's life.
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { ContainerState, LinuxContainerResources } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState

let daemon: Daemon
let pod: string
let bystander: string
let before: string[]
beforeAll(async () => {
  daemon = await makeDaemon()
  pod = await daemon.runPod()
  bystander = await daemon.run(pod, 'while sleep 0.1; do echo tick; done')
})
afterAll(async () => daemon[Symbol.asyncDispose]())
beforeEach(async () => {
  before = await daemon.state()
})
afterEach(async () => {
  for (const id of await others()) await daemon.runtime.removeContainer({ containerId: id })
  await daemon.expectState(before)
  expect((await daemon.status(bystander))?.state).toBe(CONTAINER_RUNNING)
  expect(daemon.problems.splice(0)).toEqual([])
})

const others = async (): Promise<string[]> =>
  (await daemon.runtime.listContainers({ filter: undefined })).containers
    .map(({ id }) => id)
    .filter((id) => id !== bystander)

/** Ends with 7 when it is told to stop, and says so. */
const polite = 'trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.05; done'

async function runPolite(): Promise<string> {
  const id = await daemon.run(pod, polite)
  await expect.poll(() => daemon.log(id)).toContain('ready')
  return id
}

test.each([
  'record/folder-made',
  'record/written',
  'container/recorded',
  'container/monitor-spawned',
  'container/monitor-placed',
  'container/rootfs-folders-made',
  'container/rootfs-recorded',
  'container/rootfs-mounted',
  'container/rootfs-known',
  'container/bundle-written',
  'container/monitor-told',
  'container/made',
  'record/written#3',
])('CreateContainer, killed at %s: it never was', async (point) => {
  await daemon.dieAt(point, async () => daemon.create(pod, 'sleep 600'))
  expect(await others()).toEqual([])
  await daemon.expectState(before)
})

test.each([
  ['container/created', CONTAINER_CREATED],
  ['container/starting', CONTAINER_CREATED],
  ['container/started', CONTAINER_RUNNING],
  ['container/running', CONTAINER_RUNNING],
] as const)('made and started, killed at %s: it is there whole', async (point, state) => {
  await daemon.dieAt(point, async () => daemon.run(pod, polite))
  const [id = '', ...more] = await others()
  expect(more).toEqual([])
  const shown = await daemon.status(id)
  expect(shown?.state).toBe(state)
  daemon.adopt(id, shown?.logPath ?? '')
  if (state === CONTAINER_CREATED) await daemon.runtime.startContainer({ containerId: id })
  else expect(shown?.startedAt).toBeGreaterThanOrEqual(shown?.createdAt ?? 0n)
  await expect.poll(() => daemon.log(id)).toContain('ready')
  await daemon.runtime.stopContainer({ containerId: id, timeout: 10n })
  expect(await daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 7, reason: 'Error' })
})

test.each([
  'container/signalled',
  'container/exit-read',
  'container/runtime-deleted',
  'record/written',
  'container/exited',
])('StopContainer, killed at %s: its exit code and last words are kept', async (point) => {
  const id = await runPolite()
  const stop = async () => daemon.runtime.stopContainer({ containerId: id, timeout: 10n })
  await daemon.dieAt(point, stop, async () => expect.poll(() => daemon.log(id)).toContain('bye'))
  await stop()
  const ended = await daemon.status(id)
  expect(ended).toMatchObject({ state: CONTAINER_EXITED, exitCode: 7, reason: 'Error', message: '' })
  expect(ended?.finishedAt).toBeGreaterThan(ended?.startedAt ?? 0n)
})

test('what ends while nobody watches is found with its exit code', async () => {
  const id = await runPolite()
  await daemon.dieAt(
    'container/killed',
    async () => {
      const other = await daemon.run(pod, 'sleep 600')
      await daemon.runtime.stopContainer({ containerId: other, timeout: 0n })
    },
    async () => {
      process.kill(daemon.initOf(id), 'SIGTERM')
      await expect.poll(() => daemon.log(id)).toContain('bye')
    },
  )
  await expect.poll(async () => daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 7 })
})

test.each([
  'record/written',
  'container/removing',
  'container/runtime-removed',
  'container/monitor-ended',
  'container/bundle-removed',
  'container/rootfs-released',
  'record/set-aside',
  'container/removed',
])('RemoveContainer, killed at %s: it is gone, or as it was', async (point) => {
  const id = await daemon.create(pod, 'sleep 600')
  await daemon.dieAt(point, async () => daemon.runtime.removeContainer({ containerId: id }))
  expect(await others()).toEqual(point === 'record/written' ? [id] : [])
})

test.each(['exec/prepared', 'exec/spawned', 'exec/ended'])(
  'ExecSync, killed at %s: the command is over',
  async (point) => {
    const id = await daemon.run(pod, 'sleep 600')
    const made = await daemon.state()
    await daemon.dieAt(point, async () => daemon.exec(id, point === 'exec/ended' ? 'true' : 'sleep 311'))
    await daemon.expectState(made)
    expect(await daemon.exec(id, 'ps')).not.toContain('sleep 311')
  },
)

test('killed while a command runs: the command is over, and the container goes on', async () => {
  const id = await daemon.run(pod, 'sleep 600')
  const made = await daemon.state()
  const command = expect(daemon.exec(id, 'sleep 312')).rejects.toThrow()
  await expect.poll(async () => daemon.exec(id, 'ps')).toContain('sleep 312')
  await daemon.kill()
  await command
  await daemon.start()
  await daemon.expectState(made)
  expect(await daemon.exec(id, 'ps')).not.toContain('sleep 312')
})

test.each(['update/recorded', 'update/applied', 'update/stored'])(
  'UpdateContainerResources, killed at %s: status and kernel say the same',
  async (point) => {
    const resources = { memoryLimitInBytes: 64n << 20n, cpuShares: 512n }
    const id = await daemon.run(pod, 'sleep 600', { linux: { resources } })
    const linux = LinuxContainerResources.fromPartial({ memoryLimitInBytes: 128n << 20n })
    const request = { containerId: id, linux, windows: undefined, annotations: {} }
    await daemon.dieAt(point, async () => daemon.runtime.updateContainerResources(request))
    const shown = (await daemon.status(id))?.resources?.linux
    expect(shown).toMatchObject({ memoryLimitInBytes: 128n << 20n, cpuShares: 512n })
    const cgroups = await openCgroups()
    expect((await cgroups.stats(join(daemon.cgroup, pod, id))).memory?.limit).toBe(128 << 20)
  },
)

test.each(['checkpoint/recorded', 'checkpoint/paused'])(
  'CheckpointContainer, killed at %s: it goes on, and nothing is left of the archive',
  async (point) => {
    const id = await daemon.run(pod, 'while sleep 0.05; do echo line; done')
    const made = await daemon.state()
    const request = { containerId: id, location: join(daemon.folder, 'checkpoint.tar'), timeout: 0n }
    await daemon.dieAt(point, async () => daemon.runtime.checkpointContainer(request))
    await daemon.expectState(made)
    const { length } = await daemon.log(id)
    await expect.poll(async () => (await daemon.log(id)).length).toBeGreaterThan(length)
  },
)

test('ReopenContainerLog, killed when the monitor is told: the log goes on in the new file', async () => {
  const id = await daemon.run(pod, 'while sleep 0.05; do echo line; done')
  const path = (await daemon.status(id))?.logPath ?? ''
  renameSync(path, `${path}.1`)
  await daemon.dieAt('log/told', async () => daemon.runtime.reopenContainerLog({ containerId: id }))
  await expect.poll(() => existsSync(path) && readFileSync(path, 'utf8')).toContain('stdout F line')
  await daemon.runtime.reopenContainerLog({ containerId: id })
})
