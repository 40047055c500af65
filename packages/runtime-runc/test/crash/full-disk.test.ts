// A disk that is full: what is asked fails with a word on it, or goes on; nothing is half-made.
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ContainerState, PodSandboxState } from '@nodelet/cri-api'
import { mount, unmount } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

let daemon: Daemon
let before: string[]
beforeAll(async () => {
  daemon = await makeDaemon({}, (folder, undo) => {
    const target = join(folder, 'state')
    mkdirSync(target)
    mount({ source: 'tmpfs', target, type: 'tmpfs', options: ['size=1m'] })
    undo.defer(() => unmount(target, { detach: true }))
  })
  const pod = await daemon.runPod()
  await daemon.run(pod, 'true')
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
})
afterAll(async () => {
  empty()
  await daemon[Symbol.asyncDispose]()
})
beforeEach(async () => {
  before = await daemon.state()
})
afterEach(async () => {
  empty()
  const { items } = await daemon.runtime.listPodSandbox({ filter: undefined })
  for (const { id } of items) await daemon.runtime.removePodSandbox({ podSandboxId: id })
  await daemon.expectState(before)
  daemon.problems.splice(0)
  // All works when there is space.
  const pod = await daemon.runPod()
  expect(await daemon.exec(await daemon.run(pod, 'sleep 600'), 'echo works')).toBe('works')
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
})

const filler = (): string => join(daemon.folder, 'state/filler')
const empty = (): void => rmSync(filler(), { force: true })
function fill(): void {
  const { bavail, bsize } = statfsSync(join(daemon.folder, 'state'))
  writeFileSync(filler(), Buffer.alloc(bavail * bsize))
}

const full = /writing .*json.*ENOSPC.*free space on its disk and try again/

test('RunPodSandbox says so, and nothing is left', async () => {
  fill()
  await expect(daemon.runPod()).rejects.toThrow(full)
  empty()
  await daemon.expectState(before)
})

test('CreateContainer says so, and nothing is left', async () => {
  const pod = await daemon.runPod()
  await daemon.runtime.removeContainer({ containerId: await daemon.create(pod, 'true') })
  const made = await daemon.state()
  fill()
  await expect(daemon.create(pod, 'sleep 600')).rejects.toThrow(full)
  empty()
  await daemon.expectState(made)
})

test('StartContainer starts, as it can be told after a restart', async () => {
  const pod = await daemon.runPod()
  const id = await daemon.create(pod, 'sleep 600')
  fill()
  await daemon.runtime.startContainer({ containerId: id })
  await expect.poll(() => daemon.problems).toContainEqual(expect.stringMatching(full)) // told beside the answer
  expect((await daemon.status(id))?.state).toBe(ContainerState.CONTAINER_RUNNING)
  await daemon.kill()
  empty()
  await daemon.start()
  const shown = await daemon.status(id)
  expect(shown?.state).toBe(ContainerState.CONTAINER_RUNNING)
  expect(shown?.startedAt).toBeGreaterThan(0n)
})

test.each(['while it is full', 'after a restart'])('an exit is known %s', async (when) => {
  const pod = await daemon.runPod()
  const id = await daemon.run(pod, 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done')
  await expect.poll(() => daemon.log(id)).toContain('ready')
  fill()
  await daemon.runtime.stopContainer({ containerId: id, timeout: 10n })
  const ended = { state: ContainerState.CONTAINER_EXITED, exitCode: 9, reason: 'Error' }
  expect(await daemon.status(id)).toMatchObject(ended)
  if (when === 'while it is full') return
  await daemon.kill()
  await daemon.start()
  expect(await daemon.status(id)).toMatchObject(ended)
})

test('what runs can be stopped and removed, which makes room', async () => {
  const pod = await daemon.runPod()
  await daemon.run(pod, 'sleep 600')
  fill()
  await daemon.runtime.stopPodSandbox({ podSandboxId: pod })
  const { status } = await daemon.runtime.podSandboxStatus({ podSandboxId: pod, verbose: false })
  expect(status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  empty()
  await daemon.expectState(before)
})
