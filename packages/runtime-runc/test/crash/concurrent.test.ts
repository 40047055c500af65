// Calls at the same time on one object: one after the other, shared or refused, never interleaved.
import { ContainerState } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { useDaemon } from './use-daemon.ts'

const at = useDaemon()

const outcomes = async (calls: Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(calls)).map((one) =>
    one.status === 'fulfilled' ? 'done' : String((one.reason as Error).message),
  )

test('two starts: one starts it, the other is refused', async () => {
  const containerId = await at.daemon.create(at.pod, 'sleep 600')
  const both = await outcomes([1, 2].map(() => at.daemon.runtime.startContainer({ containerId })))
  expect(both.toSorted()).toEqual([
    expect.stringMatching(`container ${containerId} is in CONTAINER_RUNNING state: only a created one starts`),
    'done',
  ])
  expect((await at.daemon.status(containerId))?.state).toBe(ContainerState.CONTAINER_RUNNING)
})

test('stop and remove, and many of each: all are done', async () => {
  const containerId = await at.daemon.run(at.pod, 'sleep 600')
  const calls = [1, 2, 3].flatMap(() => [
    at.daemon.runtime.stopContainer({ containerId, timeout: 1n }),
    at.daemon.runtime.removeContainer({ containerId }),
  ])
  expect(await outcomes(calls)).toEqual(calls.map(() => 'done'))
  await expect(at.daemon.status(containerId)).rejects.toHaveProperty('code', 'NOT_FOUND')
})

test('start and remove: it is gone, started before or not', async () => {
  for (let round = 0; round < 5; round++) {
    const containerId = await at.daemon.create(at.pod, 'sleep 600')
    const [start, removal] = await outcomes([
      at.daemon.runtime.startContainer({ containerId }),
      at.daemon.runtime.removeContainer({ containerId }),
    ])
    expect(start).toMatch(/^done$|being removed|not known/)
    expect(removal).toBe('done')
    await expect(at.daemon.status(containerId)).rejects.toHaveProperty('code', 'NOT_FOUND')
  }
})

test('two creations of one name: the same content shares, another is refused', async () => {
  const config = at.daemon.container('sleep 600')
  const request = { podSandboxId: at.pod, config, sandboxConfig: undefined }
  const [one, two, other] = await Promise.allSettled([
    at.daemon.runtime.createContainer(request),
    at.daemon.runtime.createContainer(request),
    at.daemon.runtime.createContainer({ ...request, config: { ...config, command: ['/bin/true'] } }),
  ])
  expect(one).toEqual(two)
  expect(one.status).toBe('fulfilled')
  expect(other).toMatchObject({ status: 'rejected', reason: { code: 'ALREADY_EXISTS' } })
  const { containers } = await at.daemon.runtime.listContainers({ filter: undefined })
  expect(containers).toHaveLength(1)
})

test('two runs of one pod: the same content shares', async () => {
  const request = { config: at.daemon.podConfig(), runtimeHandler: '' }
  const [one, two] = await Promise.all([
    at.daemon.runtime.runPodSandbox(request),
    at.daemon.runtime.runPodSandbox(request),
  ])
  expect(one).toEqual(two)
  await at.daemon.runtime.removePodSandbox(one)
})

test('the pod is removed while containers are made, started and used in it: nothing is left', async () => {
  const started = await at.daemon.run(at.pod, 'sleep 600')
  const created = await at.daemon.create(at.pod, 'sleep 600')
  const calls = [
    at.daemon.create(at.pod, 'sleep 600'),
    at.daemon.runtime.startContainer({ containerId: created }),
    at.daemon.exec(started, 'echo begun; sleep 600'),
    at.daemon.runtime.stopContainer({ containerId: started, timeout: 600n }),
    at.daemon.runtime.removePodSandbox({ podSandboxId: at.pod }),
    at.daemon.runtime.stopPodSandbox({ podSandboxId: at.pod }),
    at.daemon.runtime.removePodSandbox({ podSandboxId: at.pod }),
  ]
  const [, , , stop, ...ends] = await outcomes(calls)
  expect([stop, ...ends]).toEqual(['done', 'done', 'done', 'done'])
  await expect(at.daemon.create(at.pod, 'true')).rejects.toHaveProperty('code', 'NOT_FOUND')
  expect((await at.daemon.runtime.listContainers({ filter: undefined })).containers).toEqual([])
})
