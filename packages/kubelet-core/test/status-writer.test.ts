import { ConnectionError, type KubeClient, StatusError } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it, vi } from 'vitest'
import { same, statusPatch } from '../src/status-patch.ts'
import { createStatusWriter } from '../src/status-writer.ts'

const pod = (status: object = {}, version = '1'): Pod => ({
  metadata: { name: 'p', namespace: 'n', uid: 'u', resourceVersion: version },
  status,
})

/** A client whose patches wait to be answered. */
function slowClient() {
  const sent: { body: unknown; answer(value?: Pod | Error): void }[] = []
  const patch = async (_resource: unknown, _ref: unknown, { body }: { body: unknown }): Promise<Pod> =>
    new Promise((resolve, reject) => {
      const answer = (value: Pod | Error = pod()): void => (value instanceof Error ? reject(value) : resolve(value))
      sent.push({ body, answer })
    })
  return { client: { patch } as unknown as Pick<KubeClient, 'patch'>, sent }
}
const tick = async (ms = 2): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

it('one request at a time, the newest status only, nothing when nothing differs', async () => {
  const { client, sent } = slowClient()
  const writer = createStatusWriter({ client })
  writer.observe('u', pod())
  for (const phase of ['Pending', 'Running', 'Failed']) writer.set(pod(), { phase })
  await tick()
  expect(sent.map(({ body }) => body)).toEqual([{ metadata: { uid: 'u' }, status: { phase: 'Pending' } }])
  sent[0]?.answer(pod({ phase: 'Pending' }, '2'))
  await tick()
  expect(sent[1]?.body).toEqual({ metadata: { uid: 'u' }, status: { phase: 'Failed' } })
  const flushed = writer.flush('u')
  sent[1]?.answer(pod({ phase: 'Failed' }, '3'))
  await flushed
  writer.observe('u', pod({ phase: 'Pending' }, '2')) // the watch lags behind
  writer.set(pod(), { phase: 'Failed' })
  await tick()
  expect(sent).toHaveLength(2)
  writer.observe('u', pod({ phase: 'Running' }, '4')) // somebody else wrote
  await tick()
  expect(sent[2]?.body).toEqual({ metadata: { uid: 'u' }, status: { phase: 'Failed' } })
  writer.close()
})

it('changes that nobody acts upon wait for others; a change of phase or readiness takes them along', async () => {
  vi.useFakeTimers()
  try {
    const { client, sent } = slowClient()
    const writer = createStatusWriter({ client })
    writer.observe('u', pod({ phase: 'Pending' }))
    writer.set(pod(), { phase: 'Pending', startTime: 't' })
    await vi.advanceTimersByTimeAsync(200)
    writer.set(pod(), { phase: 'Pending', startTime: 't', podIP: '10.0.0.1' })
    await vi.advanceTimersByTimeAsync(199)
    expect(sent).toHaveLength(0)
    await vi.advanceTimersByTimeAsync(1)
    expect(sent[0]?.body).toMatchObject({ status: { startTime: 't', podIP: '10.0.0.1' } })
    sent[0]?.answer(pod({ phase: 'Pending', startTime: 't', podIP: '10.0.0.1' }, '2'))
    await vi.advanceTimersByTimeAsync(0)
    const ready = { type: 'Ready', status: 'True' } as const
    writer.set(pod(), { phase: 'Pending', startTime: 't', podIP: '10.0.0.2' })
    writer.set(pod(), { phase: 'Running', startTime: 't', podIP: '10.0.0.2', conditions: [ready] })
    await vi.advanceTimersByTimeAsync(0)
    expect(sent[1]?.body).toMatchObject({ status: { phase: 'Running', podIP: '10.0.0.2' } })
    sent[1]?.answer(pod({ phase: 'Running', startTime: 't', podIP: '10.0.0.2', conditions: [ready] }, '3'))
    await vi.advanceTimersByTimeAsync(1000)
    expect(sent).toHaveLength(2)
    writer.set(pod(), { phase: 'Running', startTime: 't', podIP: '10.0.0.2', conditions: [ready], message: 'm' })
    const flushed = writer.flush('u') // who waits for it does not wait for nothing
    await vi.advanceTimersByTimeAsync(0)
    sent[2]?.answer(pod({ phase: 'Running' }, '4'))
    await flushed
    writer.close()
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})

it('what an older server drops is not sent for ever', async () => {
  const { client, sent } = slowClient()
  const writer = createStatusWriter({ client })
  writer.observe('u', pod())
  writer.set(pod(), { phase: 'Running', observedGeneration: 3 })
  await tick()
  const flushed = writer.flush('u')
  sent[0]?.answer(pod({ phase: 'Running' }, '2'))
  await flushed
  writer.observe('u', pod({ phase: 'Running' }, '2'))
  writer.observe('u', pod({ phase: 'Running' }, '3'))
  await tick()
  expect(sent).toHaveLength(1)
  writer.close()
})

it('tries again with the newest; gives up on a pod that is gone', async () => {
  const { client, sent } = slowClient()
  const writer = createStatusWriter({ client })
  writer.observe('u', pod())
  writer.set(pod(), { phase: 'Pending' })
  await tick()
  sent[0]?.answer(new ConnectionError('cut'))
  await tick()
  writer.set(pod(), { phase: 'Running' })
  await expect.poll(() => sent.length).toBe(2)
  expect(sent[1]?.body).toMatchObject({ status: { phase: 'Running' } })
  const flushed = writer.flush('u')
  sent[1]?.answer(new StatusError('patch', { code: 404 }))
  await flushed
  writer.set(pod(), { phase: 'Failed' })
  await tick()
  expect([sent.length, writer.get('u')]).toEqual([2, { phase: 'Failed' }])
})

it('patches say what changed, of owned fields and conditions only', () => {
  const condition = (type: string, status: string) => ({ type, status })
  const known = {
    phase: 'Pending',
    reason: 'Old',
    podIPs: [{ ip: '10.0.0.1' }],
    nominatedNodeName: 'x',
    conditions: [condition('Ready', 'False'), condition('Initialized', 'True'), condition('example.com/a', 'True')],
  }
  const wanted = {
    phase: 'Pending',
    podIPs: [{ ip: '10.0.0.2' }],
    conditions: [condition('Ready', 'True'), condition('Initialized', 'True'), condition('example.com/a', 'False')],
  }
  expect(statusPatch('u', known, wanted)).toEqual({
    metadata: { uid: 'u' },
    status: {
      reason: null,
      podIPs: [{ ip: '10.0.0.2' }, { $patch: 'replace' }],
      conditions: [condition('Ready', 'True')],
    },
  })
  expect(statusPatch('u', wanted, wanted)).toBeUndefined()
})

it.each([
  [{ a: 1, b: [{ c: null }] }, { b: [{}], a: 1 }, true],
  [undefined, null, true],
  [{ a: undefined }, {}, true],
  [[], {}, false],
  [{}, undefined, false],
  [[1, 2], [1], false],
  [{ a: 0 }, { a: null }, false],
  [{ a: { b: 'x' } }, { a: { b: 'x', c: false } }, false],
  ['1', 1, false],
])('%j and %j are the same to the API: %s', (one, other, expected) => {
  expect([same(one, other), same(other, one)]).toEqual([expected, expected])
})
