// Events that are on their way when the proxy ends.
import type { KubeClient } from '@nodelet/kube-client'
import { afterEach, expect, test, vi } from 'vitest'
import { createRecorder, type EventRecorder, type ProxyEvent } from '../src/events.ts'
import { silentLogger as log } from '../src/log.ts'

afterEach(() => {
  vi.useRealTimers()
})

const event = (reason: string): ProxyEvent => ({ type: 'Warning', reason, action: 'StartKubeProxy', note: '' })

/** With a server that takes an event when `answer` says so. */
function recorderWith(answer: (signal: AbortSignal | undefined) => Promise<void>): [EventRecorder, string[]] {
  const written: string[] = []
  const create = async (_: unknown, object: ProxyEvent, { signal }: { signal?: AbortSignal } = {}): Promise<object> => {
    await answer(signal)
    written.push(object.reason)
    return object
  }
  const client = { create, patch: create } as unknown as Pick<KubeClient, 'create' | 'patch'>
  return [createRecorder({ client, nodeName: 'node', log }), written]
}

test('they are written, and none that comes later', async () => {
  const [recorder, written] = recorderWith(() => new Promise((resolve) => void setImmediate(resolve)))
  recorder.onNode(event('First'))
  recorder.onNode(event('Second'))
  await recorder.close()
  expect(written).toEqual(['First', 'Second'])
  recorder.onNode(event('Third'))
  await recorder.close()
  expect(written).toHaveLength(2)
})

test('a server that does not answer is not waited for longer than a second', async () => {
  vi.useFakeTimers()
  const [recorder, written] = recorderWith(
    (signal) => new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('aborted')))),
  )
  recorder.onNode(event('First'))
  recorder.onNode(event('Second'))
  const closed = recorder.close()
  await vi.advanceTimersByTimeAsync(1000)
  await closed
  expect(written).toEqual([])
})
