// Calls at the same time on one object: one after the other, shared or refused, never interleaved.
import { ContainerState } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

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

const outcomes = async (calls: Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(calls)).map((one) =>
    one.status === 'fulfilled' ? 'done' : String((one.reason as Error).message),
  )

test('two starts: one starts it, the other is refused', async () => {
  const containerId = await daemon.create(pod, 'sleep 600')
  const both = await outcomes([1, 2].map(() => daemon.runtime.startContainer({ containerId })))
  expect(both.toSorted()).toEqual([
    expect.stringMatching(`container ${containerId} is running: only a created one starts`),
    'done',
  ])
  expect((await daemon.status(containerId))?.state).toBe(ContainerState.CONTAINER_RUNNING)
})

test('stop and remove, and many of each: all are done', async () => {
  const containerId = await daemon.run(pod, 'sleep 600')
  const calls = [1, 2, 3].flatMap(() => [
    daemon.runtime.stopContainer({ containerId, timeout: 1n }),
    daemon.runtime.removeContainer({ containerId }),
  ])
  expect(await outcomes(calls)).toEqual(calls.map(() => 'done'))
  await expect(daemon.status(containerId)).rejects.toHaveProperty('code', 'NOT_FOUND')
})

test('start and remove: it is gone, started before or not', async () => {
  for (let round = 0; round < 5; round++) {
    const containerId = await daemon.create(pod, 'sleep 600')
    const [start, removal] = await outcomes([
      daemon.runtime.startContainer({ containerId }),
      daemon.runtime.removeContainer({ containerId }),
    ])
    expect(start).toMatch(/^done$|being removed|not known/)
    expect(removal).toBe('done')
    await expect(daemon.status(containerId)).rejects.toHaveProperty('code', 'NOT_FOUND')
  }
})

test('two creations of one name: the same content shares, another is refused', async () => {
  const config = daemon.container('sleep 600')
  const request = { podSandboxId: pod, config, sandboxConfig: undefined }
  const [one, two, other] = await Promise.allSettled([
    daemon.runtime.createContainer(request),
    daemon.runtime.createContainer(request),
    daemon.runtime.createContainer({ ...request, config: { ...config, command: ['/bin/true'] } }),
  ])
  expect(one).toEqual(two)
  expect(one.status).toBe('fulfilled')
  expect(other).toMatchObject({ status: 'rejected', reason: { code: 'ALREADY_EXISTS' } })
  const { containers } = await daemon.runtime.listContainers({ filter: undefined })
  expect(containers).toHaveLength(1)
})

test('two runs of one pod: the same content shares', async () => {
  const request = { config: daemon.podConfig(), runtimeHandler: '' }
  const [one, two] = await Promise.all([daemon.runtime.runPodSandbox(request), daemon.runtime.runPodSandbox(request)])
  expect(one).toEqual(two)
  await daemon.runtime.removePodSandbox(one)
})

test('the pod is removed while containers are made, started and used in it: nothing is left', async () => {
  const started = await daemon.run(pod, 'sleep 600')
  const created = await daemon.create(pod, 'sleep 600')
  const calls = [
    daemon.create(pod, 'sleep 600'),
    daemon.runtime.startContainer({ containerId: created }),
    daemon.exec(started, 'echo begun; sleep 600'),
    daemon.runtime.stopContainer({ containerId: started, timeout: 600n }),
    daemon.runtime.removePodSandbox({ podSandboxId: pod }),
    daemon.runtime.stopPodSandbox({ podSandboxId: pod }),
    daemon.runtime.removePodSandbox({ podSandboxId: pod }),
  ]
  const [, , , stop, ...ends] = await outcomes(calls)
  expect([stop, ...ends]).toEqual(['done', 'done', 'done', 'done'])
  await expect(daemon.create(pod, 'true')).rejects.toHaveProperty('code', 'NOT_FOUND')
  expect((await daemon.runtime.listContainers({ filter: undefined })).containers).toEqual([])
  await daemon.expectState(before)
})
