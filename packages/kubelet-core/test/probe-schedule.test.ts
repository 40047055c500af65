import type { Container, Probe } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createProber } from '../src/index.ts'
import type { ExecInContainer, ProbeFailure, Prober, ProbeTarget, ProbeVerdict } from '../src/index.ts'
import { count, emptyTally } from '../src/probe/tally.ts'

const agentStart = 1_000_000
let answers: Record<string, number | Error>
let calls: { command: string; at: number }[]
let verdicts: [string, boolean, number][]
let failures: string[]
let prober: Prober

const exec: ExecInContainer = async (_, [command = '']) => {
  calls.push({ command, at: Date.now() - agentStart })
  const answer = answers[command] ?? 0
  if (answer instanceof Error) throw answer
  return { exitCode: answer, output: `${command} says ${answer}` }
}

beforeEach(() => {
  vi.useFakeTimers({ now: agentStart })
  answers = {}
  calls = []
  verdicts = []
  failures = []
  prober = createProber({
    exec,
    onVerdict: ({ kind, success }: ProbeVerdict) =>
      verdicts.push([kind, success, Math.floor((Date.now() - agentStart) / 1000) * 1000]),
    onFailure: ({ message }: ProbeFailure) => failures.push(message),
  })
})
afterEach(async () => {
  await prober.close()
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

const probe = (command: string, rest: Partial<Probe> = {}): Probe => ({ exec: { command: [command] }, ...rest })
const target = (container: Omit<Container, 'name'>, startedAt = agentStart): ProbeTarget => ({
  pod: { metadata: { name: 'p', namespace: 'n', uid: 'u' } },
  container: { name: 'c', ...container },
  containerId: 'id-1',
  podIP: '127.0.0.1',
  startedAt,
})

test('a probe runs at once and then each period; only changes of the verdict are told', async () => {
  prober.add(target({ readinessProbe: probe('ready') }))
  prober.add(target({ readinessProbe: probe('twice') }))
  await vi.advanceTimersByTimeAsync(25_000)
  expect(calls).toEqual([0, 10_000, 20_000].map((at) => ({ command: 'ready', at })))
  expect(verdicts).toEqual([['readiness', true, 0]])
  expect(prober.verdict('id-1', 'readiness')).toBe(true)
  expect(prober.verdict('id-1', 'liveness')).toBeUndefined()
})

test('probes of one period come to run together, and keep their period', async () => {
  prober.add(target({ readinessProbe: probe('one') }))
  await vi.advanceTimersByTimeAsync(100)
  prober.add({ ...target({ readinessProbe: probe('two') }), containerId: 'id-2' })
  await vi.advanceTimersByTimeAsync(1_000_000)
  const timesOf = (name: string) => calls.flatMap(({ command, at }) => (command === name ? [at] : []))
  expect(timesOf('two')[0]).toBe(100)
  expect(timesOf('two').slice(1)).toEqual(timesOf('one').slice(1))
  expect(timesOf('one').at(-1)).toBe(1_000_000)
})

test('a new container is not probed before its initial delay', async () => {
  prober.add(target({ readinessProbe: probe('ready', { initialDelaySeconds: 7, periodSeconds: 2 }) }))
  await vi.advanceTimersByTimeAsync(9_500)
  expect(calls.map(({ at }) => at)).toEqual([7_000, 9_000])
})

test('containers that ran before the agent are spread over their period', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0.3)
  prober.add(target({ readinessProbe: probe('ready') }, agentStart - 60_000))
  await vi.advanceTimersByTimeAsync(3_100)
  expect(calls.map(({ at }) => at)).toEqual([3_000])
  vi.restoreAllMocks()
})

test('liveness fails after its threshold, tells of each attempt, and stops', async () => {
  answers = { live: 1 }
  prober.add(target({ livenessProbe: probe('live', { periodSeconds: 1 }) }))
  await vi.advanceTimersByTimeAsync(1_500)
  expect(verdicts).toEqual([])
  expect(prober.verdict('id-1', 'liveness')).toBeUndefined()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(verdicts).toEqual([['liveness', false, 2_000]])
  expect(failures).toEqual(Array.from({ length: 3 }, () => 'Liveness probe failed: live says 1'))
  expect(calls).toHaveLength(3)
})

test('readiness goes down and up by its thresholds', async () => {
  const readinessProbe = probe('ready', { periodSeconds: 1, failureThreshold: 2, successThreshold: 2 })
  prober.add(target({ readinessProbe }))
  await vi.advanceTimersByTimeAsync(1_100)
  answers = { ready: 1 }
  await vi.advanceTimersByTimeAsync(2_000)
  answers = {}
  await vi.advanceTimersByTimeAsync(2_000)
  expect(verdicts).toEqual([
    ['readiness', true, 1_000],
    ['readiness', false, 3_000],
    ['readiness', true, 5_000],
  ])
})

test('readiness and liveness wait for startup, then begin at once', async () => {
  answers = { up: 1 }
  prober.add(
    target({
      startupProbe: probe('up', { periodSeconds: 2, failureThreshold: 30 }),
      livenessProbe: probe('live'),
      readinessProbe: probe('ready'),
    }),
  )
  await vi.advanceTimersByTimeAsync(5_000)
  expect(new Set(calls.map(({ command }) => command))).toEqual(new Set(['up']))
  answers = {}
  await vi.advanceTimersByTimeAsync(1_500)
  expect(verdicts).toEqual([
    ['startup', true, 6_000],
    ['liveness', true, 6_000],
    ['readiness', true, 6_000],
  ])
  await vi.advanceTimersByTimeAsync(10_000)
  expect(calls.filter(({ command }) => command === 'up')).toHaveLength(4)
})

test('startup that fails ends; nothing else begins', async () => {
  answers = { up: 1 }
  const startupProbe = probe('up', { periodSeconds: 1, failureThreshold: 2 })
  prober.add(target({ startupProbe, readinessProbe: probe('ready') }))
  await vi.advanceTimersByTimeAsync(20_000)
  expect(verdicts).toEqual([['startup', false, 1_000]])
  expect(calls).toHaveLength(2)
})

test('an error is tried three times at once and does not count', async () => {
  answers = { live: new Error('no runtime') }
  prober.add(target({ livenessProbe: probe('live', { periodSeconds: 1, failureThreshold: 1 }) }))
  await vi.advanceTimersByTimeAsync(500)
  expect(calls).toHaveLength(3)
  expect(verdicts).toEqual([])
  expect(failures).toEqual(['Liveness probe errored and resulted in unknown state: no runtime'])
})

test('a timeout counts', async () => {
  answers = { live: Object.assign(new Error('late'), { code: 'DEADLINE_EXCEEDED' }) }
  prober.add(target({ livenessProbe: probe('live', { failureThreshold: 1, timeoutSeconds: 2 }) }))
  await vi.advanceTimersByTimeAsync(500)
  expect(failures).toEqual(['Liveness probe failed: command timed out: "live" timed out after 2s'])
  expect(verdicts).toEqual([['liveness', false, 0]])
})

test('a probe without a handler is an error', async () => {
  prober.add(target({ readinessProbe: {} }))
  await vi.advanceTimersByTimeAsync(100)
  expect(failures).toEqual([
    'Readiness probe errored and resulted in unknown state: missing probe handler for p_n(u):c',
  ])
})

test('a removed container is probed no more, and the same ID may come again', async () => {
  prober.add(target({ readinessProbe: probe('ready') }))
  await vi.advanceTimersByTimeAsync(100)
  prober.remove('id-1')
  expect(prober.verdict('id-1', 'readiness')).toBeUndefined()
  await vi.advanceTimersByTimeAsync(30_000)
  expect(calls).toHaveLength(1)
  prober.add(target({ readinessProbe: probe('ready') }))
  await vi.advanceTimersByTimeAsync(100)
  expect(verdicts).toHaveLength(2)
})

test('commands know the values in the spec', async () => {
  const container = { env: [{ name: 'WORD', value: 'ready' }], readinessProbe: probe('$(WORD) $(OTHER)') }
  prober.add(target(container))
  await vi.advanceTimersByTimeAsync(100)
  expect(calls).toMatchObject([{ command: 'ready $(OTHER)' }])
})

test('the tally begins anew when an attempt differs', () => {
  const limits = { successThreshold: 1, failureThreshold: 3 }
  const after = (...attempts: boolean[]) =>
    attempts.reduce((tally, success) => count(tally, success, 'liveness', limits), emptyTally)
  expect(after(false, false, true, false, false)).toMatchObject({ verdict: true, run: 2, done: false })
  expect(after(true, false, false, false)).toMatchObject({ verdict: false, done: true })
})
