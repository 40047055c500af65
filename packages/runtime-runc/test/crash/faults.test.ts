// What goes wrong around a daemon, and what it says and does then.
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ContainerState, PodSandboxState } from '@nodelet/cri-api'
import { unmountIfMounted } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'
import { processesIn } from './machine.ts'

let daemon: Daemon
beforeAll(async () => {
  daemon = await makeDaemon()
  // The first port makes rules, and the first container a cgroup, that stay for all.
  const pod = await daemon.runPod({ portMappings: [{ hostPort: 8080, containerPort: 80 }] })
  await daemon.run(pod, 'true')
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
})
afterAll(async () => daemon[Symbol.asyncDispose]())

test('a monitor that is killed is noticed at once, and its container ends as unknown', async () => {
  const before = await daemon.state()
  const pod = await daemon.runPod()
  const id = await daemon.run(pod, 'sleep 600')
  process.kill(Number(readFileSync(join(daemon.folder, 'run/bundles', id, 'conmon.pid'), 'utf8')), 'SIGKILL')
  await expect
    .poll(async () => daemon.status(id), { interval: 20 })
    .toMatchObject({
      state: ContainerState.CONTAINER_EXITED,
      exitCode: 255,
      reason: 'Unknown',
      message: expect.stringMatching(/monitor \(conmon, process \d+\) was killed: its exit code is lost/),
    })
  expect(processesIn(join(daemon.cgroup, pod))).toEqual([])
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  await daemon.expectState(before)
})

test('a network namespace that a stranger took away makes the pod not ready; it stops and goes', async () => {
  const before = await daemon.state()
  const pod = await daemon.runPod({ portMappings: [{ hostPort: 8080, containerPort: 80 }] })
  await daemon.run(pod, 'sleep 600')
  unmountIfMounted(join(daemon.folder, 'run/ns', `${pod}.net`), { detach: true })
  const { status } = await daemon.runtime.podSandboxStatus({ podSandboxId: pod, verbose: false })
  expect(status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
  await daemon.runtime.stopPodSandbox({ podSandboxId: pod })
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  await daemon.expectState(before)
})

test.each(['', '{"id":', '{}'])(
  'a record that has become %j is set aside and named; the start goes on',
  async (text) => {
    const pod = await daemon.runPod()
    const [id, other] = [await daemon.run(pod, 'sleep 600'), await daemon.run(pod, 'sleep 600')]
    await daemon.kill()
    const file = join(daemon.folder, 'state/containers', id, 'container.json')
    truncateSync(file)
    writeFileSync(file, text)
    daemon.problems.splice(0)
    await daemon.start()
    expect(daemon.problems).toEqual([expect.stringMatching(`container ${id} has no readable record .*${id}.damaged`)])
    const { containers } = await daemon.runtime.listContainers({ filter: undefined })
    expect(containers.map((one) => one.id)).toEqual([other])
    expect((await daemon.state()).filter((line) => line.includes(id) && !line.includes('.damaged'))).toEqual([])
    await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  },
)

test('an exit file with something else in it costs the exit code only', async () => {
  const pod = await daemon.runPod()
  const id = await daemon.run(pod, 'sleep 600')
  await daemon.kill()
  writeFileSync(join(daemon.folder, 'run/exits', id), 'garbage')
  await daemon.start()
  expect(await daemon.status(id)).toMatchObject({
    exitCode: 255,
    reason: 'Unknown',
    message: expect.stringMatching(/has "garbage" instead of an exit code/),
  })
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
})
