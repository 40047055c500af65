// A daemon that is killed at each step of making, stopping and removing a sandbox.
import { NamespaceMode, PodSandboxState } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

let daemon: Daemon
let before: string[]
let bystander: { pod: string; container: string }
beforeAll(async () => {
  daemon = await makeDaemon()
  const pod = await daemon.runPod({ portMappings: [{ hostPort: 8081, containerPort: 81 }] })
  bystander = { pod, container: await daemon.run(pod, 'while sleep 0.1; do echo tick; done') }
})
afterAll(async () => daemon[Symbol.asyncDispose]())
beforeEach(async () => {
  before = await daemon.state()
})
afterEach(async () => {
  const others = (await pods()).filter(({ id }) => id !== bystander.pod)
  for (const { id } of others) await daemon.runtime.removePodSandbox({ podSandboxId: id })
  await daemon.expectState(before)
  expect(await daemon.exec(bystander.container, 'echo here')).toBe('here')
  expect((await pods()).map(({ id, state }) => [id, state])).toEqual([[bystander.pod, PodSandboxState.SANDBOX_READY]])
  expect(daemon.problems.splice(0)).toEqual([])
})

const pods = async () => (await daemon.runtime.listPodSandbox({ filter: undefined })).items
const portMappings = [{ hostPort: 8080, containerPort: 80 }]

test.each([
  'record/folder-made',
  'record/written',
  'sandbox/recorded',
  'sandbox/pinned',
  'sandbox/files-made',
  'record/written#2',
  'sandbox/network-added',
  'container/recorded',
  'container/monitor-told',
  'container/made',
  'sandbox/infra-created',
  'container/started',
  'sandbox/infra-started',
  'record/written#5',
])('RunPodSandbox, killed at %s: it never was', async (point) => {
  const linux = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } }
  await daemon.dieAt(point, async () => daemon.runPod({ portMappings, linux }))
  expect((await pods()).map(({ id }) => id)).toEqual([bystander.pod])
  await daemon.expectState(before)
})

test('RunPodSandbox, killed when it is ready: it stays, and its maker finds it', async () => {
  const linux = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } }
  await daemon.dieAt('sandbox/ready', async () => daemon.runPod({ portMappings, linux, labels: { made: 'now' } }))
  const [found, ...others] = await pods()
  expect(others).toHaveLength(1)
  const mine = [found, ...others].find((one) => one?.labels['made'] === 'now')
  expect(mine?.state).toBe(PodSandboxState.SANDBOX_READY)
  expect(await daemon.exec(await daemon.run(mine?.id ?? '', 'sleep 600'), 'echo works')).toBe('works')
})

const stopping = [
  'record/written',
  'sandbox/stopping',
  'container/killed',
  'container/exited',
  'sandbox/containers-stopped',
  'sandbox/network-deleted',
  'sandbox/network-paid',
  'sandbox/unpinned',
  'sandbox/stopped',
]
test.each(stopping)('StopPodSandbox, killed at %s: it is stopped, or still as it was', async (point) => {
  const pod = await daemon.runPod({ portMappings })
  const container = await daemon.run(pod, 'sleep 600')
  await daemon.dieAt(point, async () => daemon.runtime.stopPodSandbox({ podSandboxId: pod }))
  const wasStopped = point !== 'record/written'
  const { READY, NOTREADY } = { READY: PodSandboxState.SANDBOX_READY, NOTREADY: PodSandboxState.SANDBOX_NOTREADY }
  expect((await pods()).find(({ id }) => id === pod)?.state).toBe(wasStopped ? NOTREADY : READY)
  await daemon.runtime.stopPodSandbox({ podSandboxId: pod })
  expect((await pods()).find(({ id }) => id === pod)?.state).toBe(NOTREADY)
  expect(await daemon.status(container)).toMatchObject({ exitCode: 137, reason: 'Error' })
})

test.each([
  'sandbox/removing',
  'container/removing',
  'container/runtime-removed',
  'container/bundle-removed',
  'container/rootfs-released',
  'record/set-aside',
  'container/removed',
  'sandbox/containers-removed',
  'sandbox/files-removed',
  'sandbox/cgroup-removed',
  'record/set-aside#2',
  'sandbox/removed',
])('RemovePodSandbox, killed at %s: it is gone', async (point) => {
  const pod = await daemon.runPod({ portMappings })
  await daemon.run(pod, 'sleep 600')
  await daemon.dieAt(point, async () => daemon.runtime.removePodSandbox({ podSandboxId: pod }))
  if (!point.startsWith('container/') && point !== 'record/set-aside') {
    expect((await pods()).map(({ id }) => id)).toEqual([bystander.pod])
    await daemon.expectState(before)
  }
})
