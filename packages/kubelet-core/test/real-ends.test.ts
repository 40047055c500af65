// How pods end, as clients of the API see it: with everything real.
import { type KubeClient, pods, strategicPatch, type WatchEvent } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { isReady, namespace, startWholeCluster, stay, type WholeCluster } from './whole-cluster.ts'

let world: WholeCluster
let admin: KubeClient
let shell: WholeCluster['shell']
let create: WholeCluster['create']
let watched: WholeCluster['watched']

beforeAll(async () => {
  world = await startWholeCluster()
  ;({ admin, shell, create, watched } = world)
})
afterAll(async () => world?.[Symbol.asyncDispose]())

/** All that a watch shows of a pod until it is gone. */
async function lifeOf(name: string, from: Pod): Promise<Pod[]> {
  const signal = AbortSignal.timeout(30_000)
  const seen: Pod[] = []
  const fieldSelector = `metadata.name=${name}`
  const resourceVersion = from.metadata?.resourceVersion ?? ''
  for await (const event of admin.watch(pods, { namespace, fieldSelector, resourceVersion, signal })) {
    const { type, object } = event as WatchEvent<Pod> & { object: Pod }
    seen.push(object)
    if (type === 'DELETED') break
  }
  return seen
}
const ended = (pod: Pod | undefined) => pod?.status?.containerStatuses?.map(({ state }) => state?.terminated?.reason)
const remove = async (name: string, gracePeriodSeconds?: number) =>
  admin.delete(pods, { name, namespace }, gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds })

it('a pod that is deleted before it ran has failed before it is gone', async () => {
  const image = 'localhost/not-there:1'
  const created = await create('never', { containers: [shell(stay, { image, imagePullPolicy: 'Never' })] })
  const waiting = await watched(
    created,
    ({ status }) => status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull',
  )
  const life = lifeOf('never', waiting)
  await remove('never')
  const last = (await life).at(-1)
  expect([last?.status?.phase, ended(last)]).toEqual(['Failed', ['ContainerStatusUnknown']])
})

it('who deletes again with less grace does not wait for the first', async () => {
  // Ready once it hears no signal any more.
  const readinessProbe = { exec: { command: ['cat', '/tmp/deaf'] }, periodSeconds: 1 }
  const stubborn = shell('trap "" TERM; touch /tmp/deaf; while :; do sleep 1; done', { readinessProbe })
  const created = await create('stubborn', { terminationGracePeriodSeconds: 300, containers: [stubborn] })
  await watched(created, isReady)
  const life = lifeOf('stubborn', created)
  await remove('stubborn')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await remove('stubborn', 1)
  const last = (await life).at(-1)
  expect(last?.status?.phase).toBe('Failed')
  expect(last?.status?.podIP).toMatch(/^\d/) // as it was while it ran
})

it('readiness is probed and told to the end, liveness is not', async () => {
  const script = 'touch /tmp/ok; trap "rm /tmp/ok; sleep 3; exit 0" TERM; sleep 600 & wait; sleep 4'
  const probe = { exec: { command: ['cat', '/tmp/ok'] }, periodSeconds: 1, failureThreshold: 1 }
  const created = await create('leaving', {
    terminationGracePeriodSeconds: 20,
    containers: [shell(script, { readinessProbe: probe, livenessProbe: probe })],
  })
  const ready = await watched(created, isReady)
  const life = lifeOf('leaving', ready)
  await remove('leaving')
  const unready = (await life).find((pod) => !isReady(pod))
  expect(unready?.status?.phase).toBe('Running')
  expect(unready?.status?.containerStatuses?.[0]).toMatchObject({ ready: false, state: { running: {} } })
})

it('a pod that somebody else has failed ends, and stays failed', async () => {
  const created = await create('failed', { containers: [shell(stay)] })
  await watched(created, isReady)
  const status = { phase: 'Failed', reason: 'ByHand', message: 'because' }
  await admin.patch(pods, { name: 'failed', namespace }, strategicPatch({ status }), { subresource: 'status' })
  const after = await watched(created, (pod) => ended(pod)?.[0] !== undefined)
  expect(after.status).toMatchObject(status)
  await remove('failed')
})

it('a pod that only says that it is static is one like any other', async () => {
  const annotations = { 'kubernetes.io/config.source': 'file' }
  const created = await create('posing', { containers: [shell(stay)] }, { annotations })
  await watched(created, isReady)
  const life = lifeOf('posing', created)
  await remove('posing')
  expect((await life).at(-1)?.status?.phase).toMatch(/Succeeded|Failed/)
})

it('what a pod came to is not judged anew by the next kubelet', async () => {
  const spec = { restartPolicy: 'Never', activeDeadlineSeconds: 5, containers: [shell('exit 0')] }
  const created = await create('done', spec)
  const before = await watched(created, ({ status }) => status?.phase === 'Succeeded')
  await new Promise((resolve) => setTimeout(resolve, 6000))
  await world.restart()
  await create('after', { containers: [shell(stay)] }).then(async (pod) => watched(pod, isReady))
  const after = await admin.get(pods, { name: 'done', namespace })
  expect(after.status?.reason).toBeUndefined()
  expect(after.status?.containerStatuses).toEqual(before.status?.containerStatuses)
  for (const name of ['done', 'after']) await remove(name)
})
