import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it } from 'vitest'
import type { RuntimeContainer, RuntimeSandbox } from '../src/pod/runtime-pod.ts'
import { podStatus, type StatusFacts } from '../src/pod/status.ts'
import { logText } from '../src/pod/termination-message.ts'

const sandbox: RuntimeSandbox = {
  id: 's',
  attempt: 0,
  ready: true,
  createdMs: 0,
  hostNetwork: false,
  ips: ['10.0.0.1'],
}
const container = (name: string, more: Partial<RuntimeContainer> = {}): RuntimeContainer => ({
  id: `${name}${more.attempt ?? 0}`,
  name,
  attempt: 0,
  sandboxId: 's',
  phase: 'running',
  createdMs: 1000,
  startedMs: 2000,
  finishedMs: more.phase === 'exited' ? 3000 : 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i',
  imageRef: 'i@sha256:1',
  hash: '',
  logPath: '',
  annotations: {},
  mounts: [],
  ...more,
})
const pod = (spec: object = {}): Pod => ({
  metadata: { name: 'p', namespace: 'n', uid: 'u', generation: 4 },
  spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
})
const statusOf = (one: Pod, containers: RuntimeContainer[], more: Partial<StatusFacts> = {}) =>
  podStatus(one, {
    runtime: { sandboxes: [sandbox], containers },
    runtimeName: 'rt',
    waiting: new Map(),
    hostIPs: ['192.0.2.1'],
    previous: undefined,
    verdict: () => undefined,
    hookRuns: () => false,
    nowMs: 10_000,
    ...more,
  })
const conditions = (status: ReturnType<typeof statusOf>) =>
  Object.fromEntries(
    (status.conditions ?? []).map((one) => [one.type, [one.status, one.reason, one.message].filter(Boolean).join(' ')]),
  )

it('a running pod, whole', () => {
  expect(statusOf(pod(), [container('main')])).toEqual({
    observedGeneration: 4,
    phase: 'Running',
    conditions: ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
      (type) => ({
        type,
        status: 'True',
        lastProbeTime: null,
        lastTransitionTime: '1970-01-01T00:00:10Z',
        observedGeneration: 4,
      }),
    ),
    hostIP: '192.0.2.1',
    hostIPs: [{ ip: '192.0.2.1' }],
    podIP: '10.0.0.1',
    podIPs: [{ ip: '10.0.0.1' }],
    startTime: '1970-01-01T00:00:10Z',
    containerStatuses: [
      {
        name: 'main',
        state: { running: { startedAt: '1970-01-01T00:00:02Z' } },
        lastState: {},
        ready: true,
        started: true,
        restartCount: 0,
        image: 'i',
        imageID: 'i@sha256:1',
        containerID: 'rt://main0',
      },
    ],
    qosClass: 'BestEffort',
  })
})

describe('containers', () => {
  const dead = (more: Partial<RuntimeContainer> = {}) => container('main', { phase: 'exited', exitCode: 2, ...more })
  const running = { running: { startedAt: '1970-01-01T00:00:01Z' } }
  const previous = (state: object) => ({
    containerStatuses: [
      {
        name: 'main',
        state,
        containerID: 'rt://x',
        restartCount: 3,
        image: 'i',
        imageID: 'j',
        ready: true,
        started: true,
        lastState: {},
      },
    ],
  })
  const waiting = new Map([['main', { reason: 'CrashLoopBackOff', message: 'back-off' }]])
  it.each([
    ['nothing yet', {}, [], {}, { state: { waiting: { reason: 'ContainerCreating' } }, ready: false, started: false }],
    [
      'before inits',
      { initContainers: [{ name: 'init' }] },
      [],
      {},
      { state: { waiting: { reason: 'PodInitializing' } } },
    ],
    [
      'ended',
      { restartPolicy: 'Never' },
      [dead()],
      {},
      { state: { terminated: { exitCode: 2, reason: 'Error', containerID: 'rt://main0' } } },
    ],
    [
      'ended well',
      { restartPolicy: 'Never' },
      [dead({ exitCode: 0 })],
      {},
      { state: { terminated: { exitCode: 0, reason: 'Completed' } } },
    ],
    [
      'killed for memory',
      { restartPolicy: 'Never' },
      [dead({ exitCode: 137, reason: 'OOMKilled' })],
      {},
      { state: { terminated: { reason: 'OOMKilled' } } },
    ],
    [
      'waits to run again',
      {},
      [dead()],
      { waiting },
      { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: { exitCode: 2 } } },
    ],
    [
      'runs again',
      {},
      [container('main', { attempt: 1 }), dead()],
      { waiting },
      { state: { running: {} }, lastState: { terminated: { exitCode: 2 } }, restartCount: 1 },
    ],
    [
      'vanished, to run again',
      {},
      [],
      { previous: previous(running) },
      { restartCount: 4, lastState: { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown' } } },
    ],
    [
      'vanished at the end',
      {},
      [],
      { previous: previous(running), terminating: true },
      { restartCount: 3, state: { terminated: { exitCode: 137 } } },
    ],
    [
      'removed after it ended',
      {},
      [],
      { previous: previous({ terminated: { exitCode: 0 } }) },
      { state: { terminated: { exitCode: 0 } }, restartCount: 3 },
    ],
    ['its hook runs', {}, [container('main')], { hookRuns: () => true }, { ready: false, started: false }],
  ])('%s', (_title, spec, containers, more, expected) => {
    expect(statusOf(pod(spec), containers, more as never).containerStatuses?.[0]).toMatchObject(expected)
  })

  it.each([
    ['no verdict yet', undefined, undefined, false],
    ['no verdict, but told before', undefined, { ready: true }, true],
    ['failed now', false, { ready: true }, false],
    ['passed', true, undefined, true],
  ])('readiness: %s', (_title, verdict, told, ready) => {
    const probed = pod({ containers: [{ name: 'main', readinessProbe: {} }] })
    const status = statusOf(probed, [container('main')], { verdict: () => verdict, published: () => told })
    expect(status.containerStatuses?.[0]?.ready).toBe(ready)
  })
})

describe('conditions', () => {
  it.each([
    [
      'unready',
      {},
      [],
      {},
      { Ready: 'False ContainersNotReady containers with unready status: [main]', PodReadyToStartContainers: 'True' },
    ],
    ['no sandbox', {}, [], { runtime: { sandboxes: [], containers: [] } }, { PodReadyToStartContainers: 'False' }],
    [
      'inits',
      { initContainers: [{ name: 'a' }, { name: 'b' }] },
      [],
      {},
      { Initialized: 'False ContainersNotInitialized containers with incomplete status: [a b]' },
    ],
    [
      'gates',
      { readinessGates: [{ conditionType: 'x/y' }] },
      [container('main')],
      {},
      {
        ContainersReady: 'True',
        Ready: 'False ReadinessGatesNotReady corresponding condition of pod readiness gate "x/y" does not exist.',
      },
    ],
    [
      'done',
      { restartPolicy: 'Never' },
      [container('main', { phase: 'exited' })],
      {},
      { Ready: 'False PodCompleted', Initialized: 'True PodCompleted' },
    ],
    [
      'failed',
      { restartPolicy: 'Never' },
      [container('main', { phase: 'exited', exitCode: 1 })],
      {},
      { Ready: 'False PodFailed' },
    ],
  ])('%s', (_title, spec, containers, more, expected) => {
    expect(conditions(statusOf(pod(spec), containers, more as never))).toMatchObject(expected)
  })

  it('change their time with their status only, and leave those of others alone', () => {
    const first = statusOf(pod(), [container('main')])
    const foreign = { type: 'x/y', status: 'True' }
    const previous = { ...first, conditions: [...(first.conditions ?? []), foreign] }
    const next = statusOf(pod(), [], { previous, nowMs: 20_000 })
    const timeOf = (type: string) => next.conditions?.find((one) => one.type === type)?.lastTransitionTime
    expect([timeOf('Ready'), timeOf('PodScheduled')]).toEqual(['1970-01-01T00:00:20Z', '1970-01-01T00:00:10Z'])
    expect(next.conditions?.at(-1)).toEqual(foreign)
    expect(next.startTime).toBe(first.startTime)
  })
})

it('a pod that failed as a whole stays so', () => {
  const failure = { reason: 'DeadlineExceeded', message: 'too long' }
  const first = statusOf(pod(), [container('main')], { failure })
  expect(first).toMatchObject({ phase: 'Failed', ...failure })
  expect(statusOf(pod(), [container('main')], { previous: first })).toMatchObject({ phase: 'Failed', ...failure })
})

it('the last lines of a log, partial ones joined', () => {
  const log = ['t stdout F one', 't stderr P tw', 't stderr F o', 'garbage', ''].join('\n')
  expect(logText(log)).toBe('one\ntwo\n')
})
