// Strangers and power cuts: what was there is gone, or has something else in it.
import { readFileSync, renameSync, rmdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ContainerState, PodSandboxState } from '@nodelet/cri-api'
import { unmountIfMounted } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { cgroupFolders } from '../fixture.ts'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'
import { killMonitor, processesIn } from './machine.ts'

const { CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState

let daemon: Daemon
let before: string[]
let pod: string
beforeAll(async () => {
  daemon = await makeDaemon()
  const first = await daemon.runPod({ portMappings: [{ hostPort: 8080, containerPort: 80 }] })
  await daemon.run(first, 'true')
  await daemon.runtime.removePodSandbox({ podSandboxId: first })
})
afterAll(async () => daemon[Symbol.asyncDispose]())
beforeEach(async () => {
  before = await daemon.state()
  pod = await daemon.runPod({ portMappings: [{ hostPort: 8080, containerPort: 80 }] })
})
afterEach(async () => {
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  await daemon.expectState(before)
  daemon.problems.splice(0)
})

const bundle = (id: string): string => join(daemon.folder, 'run/bundles', id)
const stateOf = async (): Promise<PodSandboxState | undefined> =>
  (await daemon.runtime.podSandboxStatus({ podSandboxId: pod, verbose: false })).status?.state

test.each(['', '{"id":', '{}', '[]', 'null', '\0\0\0'])(
  'a sandbox record that has become %j: it is set aside, and nothing else of the pod stays',
  async (text) => {
    const id = await daemon.run(pod, 'sleep 600')
    await daemon.kill()
    writeFileSync(join(daemon.folder, 'state/sandboxes', pod, 'sandbox.json'), text)
    await daemon.start()
    await expect
      .poll(() => daemon.problems)
      .toContainEqual(expect.stringMatching(`sandbox ${pod} has no readable record`))
    await expect(daemon.status(id)).rejects.toHaveProperty('code', 'NOT_FOUND')
    rmSync(join(daemon.folder, 'state/sandboxes', `${pod}.damaged`), { recursive: true })
    await daemon.expectState(before)
  },
)

test.each(['as it runs', 'before a start'])(
  'the bundle is gone %s: the container still stops and goes',
  async (when) => {
    const id = await daemon.run(pod, 'sleep 600')
    if (when === 'before a start') await daemon.kill()
    rmSync(bundle(id), { recursive: true })
    if (when === 'before a start') await daemon.start()
    await daemon.runtime.stopContainer({ containerId: id, timeout: 0n })
    expect((await daemon.status(id))?.state).toBe(CONTAINER_EXITED)
    await daemon.runtime.removeContainer({ containerId: id })
  },
)

test('its processes and cgroup are gone at the start: it has ended', async () => {
  const id = await daemon.run(pod, 'sleep 600')
  await daemon.kill()
  process.kill(daemon.initOf(id), 'SIGKILL')
  const path = join(daemon.cgroup, pod, id)
  await expect.poll(() => processesIn(path)).toEqual([])
  for (const folder of cgroupFolders(path)) rmdirSync(folder)
  await daemon.start()
  expect(await daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 137 })
})

test.each(['as it runs', 'before a start'])(
  'a pin and its file are gone %s: the pod is not ready, and goes',
  async (when) => {
    await daemon.run(pod, 'sleep 600')
    if (when === 'before a start') await daemon.kill()
    const pin = join(daemon.folder, 'run/ns', `${pod}.net`)
    unmountIfMounted(pin, { detach: true })
    rmSync(pin)
    if (when === 'before a start') await daemon.start()
    expect(await stateOf()).toBe(PodSandboxState.SANDBOX_NOTREADY)
    await expect(daemon.create(pod, 'true')).rejects.toThrow(/is not running/)
  },
)

test('its log and the folder of it are gone: it runs on, and reopening says why', async () => {
  const id = await daemon.run(pod, 'while sleep 0.05; do echo line; done')
  await expect.poll(() => daemon.log(id)).toContain('line')
  const logs = join(daemon.folder, 'logs')
  renameSync(logs, `${logs}.old`)
  try {
    await expect(daemon.runtime.reopenContainerLog({ containerId: id })).rejects.toThrow(
      /reopening log .*ENOENT.*the container writes to the old one/,
    )
  } finally {
    renameSync(`${logs}.old`, logs)
  }
  expect((await daemon.status(id))?.state).toBe(CONTAINER_RUNNING)
  await daemon.runtime.reopenContainerLog({ containerId: id })
})

test.each(['', 'garbage', '1', '999999999'])(
  'a lock file of a dead process with %j in it does not hold up the start',
  async (text) => {
    await daemon.kill()
    writeFileSync(join(daemon.folder, 'state/lock'), text)
    await daemon.start()
    expect(await stateOf()).toBe(PodSandboxState.SANDBOX_READY)
    expect(readFileSync(join(daemon.folder, 'state/lock'), 'utf8')).toMatch(/^\d+$/)
  },
)

test('a bundle whose files are empty: the container runs on, stops and goes', async () => {
  const id = await daemon.run(pod, 'sleep 600')
  await daemon.kill()
  for (const name of ['config.json', 'pidfile', 'conmon.pid']) truncateSync(join(bundle(id), name))
  await daemon.start()
  expect((await daemon.status(id))?.state).toBe(CONTAINER_RUNNING)
  await expect(daemon.exec(id, 'true')).rejects.toThrow(/config\.json/)
  await daemon.runtime.stopContainer({ containerId: id, timeout: 0n })
  expect(await daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 137 })
})

test('the monitor of a command is killed: the command ends, and the container goes on', async () => {
  const id = await daemon.run(pod, 'sleep 600')
  const made = await daemon.state()
  const command = expect(daemon.exec(id, 'sleep 313')).rejects.toThrow(
    new RegExp(`failed to exec in container ${id}: conmon ended without an answer`),
  )
  await expect.poll(async () => daemon.exec(id, 'ps')).toContain('sleep 313')
  await killMonitor(daemon.folder, '--exec-process-spec')
  await command
  await expect.poll(async () => daemon.exec(id, 'ps')).not.toContain('sleep 313')
  await daemon.expectState(made)
})

test("a record of the pod's network that was cut off as it was written goes with the pod", async () => {
  await daemon.kill()
  writeFileSync(join(daemon.folder, 'cni/attachments', `${pod}-eth0.json.tmp`), '{')
  await daemon.start()
})
