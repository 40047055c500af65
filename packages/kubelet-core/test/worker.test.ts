import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { systemClock } from '../src/clock.ts'
import { silentLogger } from '../src/log.ts'
import { createSlots } from '../src/pod/slots.ts'
import { createPodWorker, type PodTurns } from '../src/pod/worker.ts'

const pod = (name: string): Pod => ({ metadata: { name, uid: 'u' } })
const options = { clock: systemClock, log: silentLogger, retryMs: () => 1 }
const tick = async (ms = 5): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Turns that say what they do and wait to be let go. */
function recorder(overrides: Partial<PodTurns> = {}) {
  const log: string[] = []
  const turns: PodTurns = {
    async sync({ metadata }) {
      log.push(`sync ${metadata?.name}`)
      return {}
    },
    async terminate(_pod, { graceSeconds }) {
      log.push(`terminate ${graceSeconds ?? '-'}`)
    },
    async terminated() {
      log.push('terminated')
    },
    told: async () => undefined,
    ...overrides,
  }
  return { log, turns }
}

it('takes turns one at a time, the newest state only', async () => {
  const gates: (() => void)[] = []
  const { log, turns } = recorder({
    async sync({ metadata }) {
      log.push(`sync ${metadata?.name}`)
      await new Promise<void>((resolve) => gates.push(resolve))
      return {}
    },
  })
  const worker = createPodWorker(pod('a'), turns, options)
  await tick()
  for (const name of ['b', 'c', 'd']) worker.update(pod(name))
  await tick()
  expect(log).toEqual(['sync a'])
  gates.shift()?.()
  await tick()
  expect(log).toEqual(['sync a', 'sync d'])
  gates.shift()?.()
  await worker.close()
})

it('ends and never begins again', async () => {
  const { log, turns } = recorder()
  const worker = createPodWorker(pod('a'), turns, options)
  await tick()
  worker.terminate({ graceSeconds: 5 })
  await worker.finished
  worker.wake()
  await tick()
  expect([log, worker.phase]).toEqual([['sync a', 'terminate 5', 'terminated'], 'terminated'])
  worker.update(pod('deleted'))
  await tick()
  expect(log.at(-1)).toBe('terminated')
  expect(log).toHaveLength(4)
})

it('a pod that ends by itself goes the same way', async () => {
  const { log, turns } = recorder({ sync: async () => ({ ended: true }) })
  await createPodWorker(pod('a'), turns, options).finished
  expect(log).toEqual(['terminate -', 'terminated'])
})

it('an end cuts a turn short; a shorter grace cuts the end short, a longer one does not', async () => {
  const aborted: string[] = []
  const { log, turns } = recorder({
    async sync(_pod, signal) {
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      return {}
    },
    async terminate(_pod, { graceSeconds = 0 }, signal) {
      log.push(`terminate ${graceSeconds}`)
      if (graceSeconds === 1) return
      await new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => {
          aborted.push(String(graceSeconds))
          reject(signal.reason as Error)
        }),
      )
    },
  })
  const worker = createPodWorker(pod('a'), turns, options)
  await tick()
  worker.terminate({ graceSeconds: 30 })
  await tick()
  worker.terminate({ graceSeconds: 60 })
  await tick()
  worker.terminate({ graceSeconds: 1 })
  await worker.finished
  expect([log, aborted]).toEqual([['terminate 30', 'terminate 1', 'terminated'], ['30']])
})

it('tries again after a failure, in the phase it is in', async () => {
  let left = 2
  const { log, turns } = recorder({
    async terminate() {
      log.push('terminate')
      if (left-- > 0) throw new Error('not yet')
    },
  })
  await createPodWorker(pod('a'), turns, { ...options, end: {} }).finished
  expect(log).toEqual(['terminate', 'terminate', 'terminate', 'terminated'])
})

it('places go to who came first, and to who resumes before who begins', async () => {
  const slots = createSlots(1)
  const first = await slots.acquire()
  const order: string[] = []
  const take = async (name: string, resume: boolean): Promise<void> => {
    const release = await slots.acquire({ resume })
    order.push(name)
    release()
  }
  const leaver = new AbortController()
  const waiting = [take('new 1', false), take('new 2', false), take('again', true)]
  const left = slots.acquire({ signal: leaver.signal })
  leaver.abort(new Error('gone'))
  await expect(left).rejects.toThrow('gone')
  first()
  first()
  await Promise.all(waiting)
  expect(order).toEqual(['again', 'new 1', 'new 2'])
})
