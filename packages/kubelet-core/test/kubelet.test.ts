// The order of things for static pods.
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import type { Kubelet } from '../src/config.ts'
import { folder, idOf, memory, open, podOf, put, runningOf, useFixture, withAddresses } from './fixture.ts'
import { until } from './until.ts'

useFixture()

it('runs a pod from a manifest and tells its status', async () => {
  const kubelet = await open()
  await put('web', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  const pod = await runningOf(kubelet, 'web')
  expect(pod.status).toMatchObject({
    phase: 'Running',
    podIP: '10.1.2.3',
    hostIP: '192.0.2.1',
    qosClass: 'BestEffort',
    containerStatuses: [{ name: 'main', ready: true, started: true, restartCount: 0 }],
  })
})

it('restarts by policy, counts, and backs off; journalled over a restart of the kubelet', async () => {
  const kubelet = await open()
  await put('loop', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  memory.exit(idOf(await runningOf(kubelet, 'loop'), 'main'), 3)
  const again = await until(() => {
    const pod = podOf(kubelet, 'loop')
    return pod?.status?.containerStatuses?.[0]?.restartCount === 1 && pod
  })
  expect(again.status?.containerStatuses?.[0]?.lastState?.terminated).toMatchObject({ exitCode: 3, reason: 'Error' })
  memory.exit(idOf(again, 'main'), 4)
  const waiting = (one: Kubelet) => async () =>
    until(() => podOf(one, 'loop')?.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CrashLoopBackOff')
  await waiting(kubelet)()
  expect(podOf(kubelet, 'loop')?.status).toMatchObject({
    phase: 'Running',
    containerStatuses: [
      {
        state: {
          waiting: {
            message: expect.stringMatching(/^back-off 10s restarting failed container=main pod=loop-node-1_default\(/),
          },
        },
        lastState: { terminated: { exitCode: 4 } },
        restartCount: 1,
      },
    ],
  })
  await kubelet.close()
  const next = await open()
  await waiting(next)()
})

it('init containers run in order, a sidecar stays, then the others', async () => {
  const kubelet = await open()
  await put('inits', {
    restartPolicy: 'Never',
    initContainers: [
      { name: 'one', image: 'registry.example/one:1' },
      { name: 'side', image: 'registry.example/side:1', restartPolicy: 'Always' },
      { name: 'two', image: 'registry.example/two:1' },
    ],
    containers: [{ name: 'main', image: 'registry.example/main:1' }],
  })
  const running = async (name: string): Promise<Pod> =>
    until(() => {
      const pod = podOf(kubelet, 'inits')
      const { initContainerStatuses = [], containerStatuses = [] } = pod?.status ?? {}
      return [...initContainerStatuses, ...containerStatuses].find((one) => one.name === name)?.state?.running && pod
    })
  const first = await running('one')
  expect(first.status).toMatchObject({
    phase: 'Pending',
    containerStatuses: [{ state: { waiting: { reason: 'PodInitializing' } } }],
  })
  memory.exit(idOf(first, 'one'), 0)
  const second = await running('two')
  expect(second.status?.initContainerStatuses?.map(({ name, state }) => [name, Object.keys(state ?? {})[0]])).toEqual([
    ['one', 'terminated'],
    ['side', 'running'],
    ['two', 'running'],
  ])
  memory.exit(idOf(second, 'two'), 0)
  const third = await running('main')
  expect(third.status?.phase).toBe('Running')
  memory.exit(idOf(third, 'main'), 0)
  const done = await until(() => podOf(kubelet, 'inits')?.status?.phase === 'Succeeded' && podOf(kubelet, 'inits'))
  expect(done?.status?.initContainerStatuses?.[1]?.state?.terminated).toMatchObject({ exitCode: 143 })
  expect(done?.status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
    status: 'False',
    reason: 'PodCompleted',
  })
})

it('adopts what runs, removes what nobody wants', async () => {
  const kubelet = await open()
  await put('kept', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  await put('gone', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  const before = idOf(await runningOf(kubelet, 'kept'), 'main')
  await runningOf(kubelet, 'gone')
  await kubelet.close()
  await rm(join(folder, 'manifests', 'gone.json'))
  const next = await open()
  const after = await runningOf(next, 'kept')
  expect([idOf(after, 'main'), after.status?.containerStatuses?.[0]?.restartCount]).toEqual([before, 0])
  await expect
    .poll(async () => (await memory.runtimeService.listPodSandbox({})).items.map(({ metadata }) => metadata?.name))
    .toEqual(['kept-node-1'])
})

it('a removed manifest ends its pod, a changed one replaces it, a broken one disturbs nobody', async () => {
  const kubelet = await open()
  await put('one', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  await put('two', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  const first = await runningOf(kubelet, 'one')
  await runningOf(kubelet, 'two')
  await writeFile(join(folder, 'manifests', 'broken.yaml'), 'kind: Pod\nspec: [')
  await rm(join(folder, 'manifests', 'two.json'))
  await put('one', { containers: [{ name: 'main', image: 'registry.example/web:2' }] })
  await until(() => !podOf(kubelet, 'two'))
  const second = await until(() => {
    const pod = podOf(kubelet, 'one')
    return pod && pod.metadata?.uid !== first.metadata?.uid && pod.status?.containerStatuses?.[0]?.ready && pod
  })
  expect(second.spec?.containers[0]?.image).toBe('registry.example/web:2')
  const { items } = await memory.runtimeService.listPodSandbox({})
  expect(items.map(({ metadata }) => metadata?.uid)).toEqual([second.metadata?.uid])
})

it('removes all pods', async () => {
  const kubelet = await open()
  await put('one', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  await runningOf(kubelet, 'one')
  await kubelet.removeAllPods()
  expect((await memory.runtimeService.listPodSandbox({})).items).toEqual([])
})

it('says why an image is not there', async () => {
  const refusing = async (): Promise<never> => {
    throw new Error('no such image')
  }
  const kubelet = await open({ imageService: { ...memory.imageService, pullImage: refusing } })
  await put('bad', {
    containers: [
      { name: 'a', image: 'registry.example/a:1' },
      { name: 'b', image: 'registry.example/b:1', imagePullPolicy: 'Never' },
    ],
  })
  const reasonsOf = () => podOf(kubelet, 'bad')?.status?.containerStatuses?.map(({ state }) => state?.waiting?.reason)
  await expect.poll(reasonsOf, { interval: 10 }).toEqual(['ErrImagePull', 'ErrImageNeverPull'])
  await expect.poll(reasonsOf).toEqual(['ImagePullBackOff', 'ErrImageNeverPull'])
  const message = podOf(kubelet, 'bad')?.status?.containerStatuses?.[0]?.state?.waiting?.message
  expect(message).toBe('Back-off pulling image "registry.example/a:1": no such image')
})

it('a pod at rest is not read again and again; what no event told is seen at the next sync', async () => {
  const runtimeService = withAddresses(memory)
  let [lists, looks] = [0, 0]
  const kubelet = await open({
    configuration: { syncFrequency: '100ms' },
    runtimeService: {
      ...runtimeService,
      async *getContainerEvents(_request, { signal } = {}) {
        await new Promise((resolve) => signal?.addEventListener('abort', resolve))
        yield* []
      },
      async listContainers(request, options) {
        if (request.filter) looks += 1
        else lists += 1
        return runtimeService.listContainers(request, options)
      },
      async containerStatus(request, options) {
        looks += 1
        return runtimeService.containerStatus(request, options)
      },
    },
  })
  await put('still', { restartPolicy: 'Never', containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  const pod = await runningOf(kubelet, 'still')
  const syncs = async (count: number): Promise<unknown> => {
    const from = lists
    return until(() => lists >= from + count)
  }
  await syncs(2)
  const before = looks
  await syncs(5)
  expect(looks).toBe(before)
  memory.exit(idOf(pod, 'main'), 0)
  await until(() => podOf(kubelet, 'still')?.status?.phase === 'Succeeded')
})

it('what a crash left of pods that are gone is removed, but for what is still mounted or of others', async () => {
  const pods = join(folder, 'root/pods')
  const left = join(pods, '6f8f57d2-6a0c-4b0c-9d8e-7d3bb0a4a002')
  await mkdir(join(left, 'containers/main'), { recursive: true })
  await mkdir(join(left, 'volumes/kubernetes.io~empty-dir/data'), { recursive: true })
  await writeFile(join(left, 'containers/main/0123abcd'), '')
  await writeFile(join(left, 'journal.json'), '{}')
  const strange = join(pods, '6f8f57d2-6a0c-4b0c-9d8e-7d3bb0a4a001')
  await mkdir(strange, { recursive: true })
  await writeFile(join(strange, 'notes'), 'of somebody else')
  await open()
  await until(() => !existsSync(left))
  expect(readdirSync(pods)).toEqual(['6f8f57d2-6a0c-4b0c-9d8e-7d3bb0a4a001'])
})

it('a pull that is under way ends with the kubelet, and nothing is written after that', async () => {
  const begun = Promise.withResolvers<void>()
  const waiting: ImageService['pullImage'] = async (_request, { signal } = {}) => {
    begun.resolve()
    await new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)))
    throw new Error('not reached')
  }
  const kubelet = await open({ imageService: { ...memory.imageService, pullImage: waiting } })
  await put('slow', { containers: [{ name: 'main', image: 'registry.example/slow:1' }] })
  await begun.promise
  const intents = join(folder, 'root/image_manager/pulling')
  expect(readdirSync(intents)).toHaveLength(1)
  await kubelet.close()
  expect(readdirSync(intents)).toEqual([])
})
