import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it } from 'vitest'
import { type ActionFacts, podActions } from '../src/pod/actions.ts'
import { backOffKey } from '../src/pod/restart.ts'
import { containerHash } from '../src/pod/labels.ts'
import type { RuntimeContainer, RuntimePod, RuntimeSandbox } from '../src/pod/runtime-pod.ts'

const sandbox = (more: Partial<RuntimeSandbox> = {}): RuntimeSandbox => ({
  id: 's0',
  attempt: 0,
  ready: true,
  createdMs: 0,
  hostNetwork: false,
  ips: ['10.0.0.1'],
  ...more,
})
const ran = (name: string, more: Partial<RuntimeContainer> = {}): RuntimeContainer => ({
  id: `${name}-0`,
  name,
  attempt: 0,
  sandboxId: 's0',
  phase: 'running',
  createdMs: 0,
  startedMs: 0,
  finishedMs: more.phase === 'exited' ? 1000 : 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i',
  imageRef: 'i',
  hash: containerHash({ name, image: 'i' }),
  logPath: '',
  annotations: {},
  mounts: [],
  ...more,
})
const exited = (name: string, exitCode = 0, more: Partial<RuntimeContainer> = {}): RuntimeContainer =>
  ran(name, { phase: 'exited', exitCode, ...more })
const container = (name: string, more: Partial<Container> = {}): Container => ({ name, image: 'i', ...more })
const pod = (spec: Partial<NonNullable<Pod['spec']>>): Pod => ({
  metadata: { name: 'p', namespace: 'n', uid: 'u' },
  spec: { containers: [container('main')], ...spec },
})
const sidecar = container('side', { restartPolicy: 'Always' })

const backedOff = (one: Container, delayMs: number) => new Map([[backOffKey(one), { delayMs, updatedMs: 0 }]])

function decide(
  spec: Partial<NonNullable<Pod['spec']>>,
  runtime: Partial<RuntimePod>,
  more: Partial<ActionFacts> = {},
) {
  const facts: ActionFacts = {
    runtime: { sandboxes: [], containers: [], ...runtime },
    backOffs: new Map(),
    verdict: () => undefined,
    hookRuns: () => false,
    nowMs: 2000,
    ...more,
  }
  const actions = podActions(pod(spec), facts)
  return {
    ...(actions.killPod && { killPod: true }),
    ...(actions.createSandbox && { attempt: actions.createSandbox.attempt }),
    ...(actions.start.length > 0 && { start: actions.start.map((one) => one.container.name) }),
    ...(actions.kill.length > 0 && { kill: actions.kill.map((one) => one.message) }),
    ...(actions.wait.length > 0 && { wait: actions.wait.map((one) => [one.container.name, one.delayMs]) }),
    ...(actions.finished && { finished: true }),
  }
}

describe('sandbox', () => {
  const ready = { sandboxes: [sandbox()] }
  it.each([
    ['none', {}, {}, { attempt: 0 }],
    ['fit', {}, ready, { start: ['main'] }],
    ['dead', {}, { sandboxes: [sandbox({ ready: false })] }, { killPod: true, attempt: 1 }],
    ['without address', {}, { sandboxes: [sandbox({ ips: [] })] }, { killPod: true, attempt: 1 }],
    ['two ready', {}, { sandboxes: [sandbox({ id: 's1', attempt: 1 }), sandbox()] }, { killPod: true, attempt: 2 }],
    ['other network', { hostNetwork: true }, ready, { killPod: true, attempt: 1 }],
    [
      'of the host',
      { hostNetwork: true },
      { sandboxes: [sandbox({ hostNetwork: true, ips: [] })] },
      { start: ['main'] },
    ],
    [
      'dead, and all has ended for good',
      { restartPolicy: 'OnFailure' },
      { sandboxes: [sandbox({ ready: false })], containers: [exited('main')] },
      { killPod: true, finished: true },
    ],
    [
      'dead, Never, something ran',
      { restartPolicy: 'Never' },
      { sandboxes: [sandbox({ ready: false })], containers: [ran('main')] },
      { killPod: true },
    ],
  ] as const)('%s', (_title, spec, runtime, expected) => {
    expect(decide(spec as never, runtime as never)).toEqual(expected)
  })
})

describe('regular containers', () => {
  const on = (...containers: RuntimeContainer[]): Partial<RuntimePod> => ({ sandboxes: [sandbox()], containers })
  const probed = (kind: 'livenessProbe' | 'startupProbe') => ({ containers: [container('main', { [kind]: {} })] })
  const failed = { verdict: () => false as const }
  const again = ', will be restarted'
  it.each([
    ['all new, in order', { containers: [container('a'), container('b')] }, on(), {}, { start: ['a', 'b'] }],
    ['running', {}, on(ran('main')), {}, {}],
    ['ended: at once the first time', {}, on(exited('main', 1)), {}, { start: ['main'] }],
    ['ended well, Always', {}, on(exited('main')), {}, { start: ['main'] }],
    ['ended well, OnFailure', { restartPolicy: 'OnFailure' }, on(exited('main')), {}, { finished: true }],
    ['failed, OnFailure', { restartPolicy: 'OnFailure' }, on(exited('main', 2)), {}, { start: ['main'] }],
    ['failed, Never', { restartPolicy: 'Never' }, on(exited('main', 2)), {}, { finished: true }],
    [
      'in back-off',
      {},
      on(exited('main', 1)),
      { backOffs: backedOff(container('main'), 20_000) },
      { wait: [['main', 20_000]] },
    ],
    [
      'changed',
      {},
      on(ran('main', { hash: 'other' })),
      {},
      { kill: [`Container main definition changed${again}`], start: ['main'] },
    ],
    [
      'not alive',
      probed('livenessProbe'),
      on(ran('main')),
      failed,
      { kill: [`Container main failed liveness probe${again}`], start: ['main'] },
    ],
    [
      'not alive, Never',
      { ...probed('livenessProbe'), restartPolicy: 'Never' },
      on(ran('main')),
      failed,
      { kill: ['Container main failed liveness probe'] },
    ],
    [
      'not started',
      probed('startupProbe'),
      on(ran('main')),
      failed,
      { kill: [`Container main failed startup probe${again}`], start: ['main'] },
    ],
    [
      'not alive, in back-off since the one before',
      probed('livenessProbe'),
      on(ran('main', { attempt: 1 }), exited('main', 1)),
      { ...failed, backOffs: backedOff(container('main'), 20_000) },
      { kill: [`Container main failed liveness probe${again}`] },
    ],
    [
      'changed, Never',
      { restartPolicy: 'Never' },
      on(ran('main', { hash: 'other' })),
      {},
      { kill: [`Container main definition changed${again}`], start: ['main'] },
    ],
    [
      'another image, in back-off of the one before',
      { containers: [container('main', { image: 'other' })] },
      on(exited('main', 1)),
      { backOffs: backedOff(container('main'), 20_000) },
      { start: ['main'] },
    ],
    [
      'made, never started, Never',
      { restartPolicy: 'Never' },
      on(ran('main', { phase: 'created' })),
      {},
      { start: ['main'] },
    ],
    ['made, never started', {}, on(ran('main', { phase: 'created' })), {}, { start: ['main'] }],
    ['of an earlier sandbox', {}, on(exited('main', 137, { sandboxId: 'old' })), {}, { start: ['main'] }],
    ['ephemeral too, once', { ephemeralContainers: [container('eph')] }, on(ran('main'), exited('eph')), {}, {}],
    ['ephemeral first', { ephemeralContainers: [container('eph')] }, on(), {}, { start: ['eph', 'main'] }],
  ] as const)('%s', (_title, spec, runtime, more, expected) => {
    expect(decide(spec as never, runtime, more as never)).toEqual(expected)
  })
})

describe('a rule that restarts all', () => {
  const rule = (action: string, values: number[]) => ({ action, exitCodes: { operator: 'In', values } })
  const all = container('main', {
    restartPolicyRules: [rule('Restart', [1]), rule('RestartAllContainers', [1, 42])],
  } as never)
  const spec = { containers: [all, container('other')], restartPolicy: 'Never' } as never
  const on = (...containers: RuntimeContainer[]): Partial<RuntimePod> => ({ sandboxes: [sandbox()], containers })
  const asking = (exitCode: number, more: object = {}): string | undefined => {
    const runtime = { sandboxes: [], containers: [], ...on(exited('main', exitCode), ran('other')) }
    const facts = {
      runtime,
      backOffs: new Map(),
      nowMs: 1000,
      verdict: () => undefined,
      hookRuns: () => false,
      ...more,
    }
    return podActions({ spec }, facts as never).restartAll?.container.name
  }
  it('asks when it is the first that matches, and not in back-off', () => {
    expect(asking(42)).toBe('main')
    expect(asking(1)).toBeUndefined()
    expect(asking(2)).toBeUndefined()
    expect(asking(42, { backOffs: backedOff(all, 300_000) })).toBeUndefined()
  })
})

describe('init containers', () => {
  const on = (...containers: RuntimeContainer[]): Partial<RuntimePod> => ({ sandboxes: [sandbox()], containers })
  const two = { initContainers: [container('one'), container('two')] }
  const withSide = { initContainers: [sidecar, container('two')] }
  const slow = { initContainers: [{ ...sidecar, startupProbe: {} }, container('two')] }
  it.each([
    ['the first', two, on(), {}, { start: ['one'] }],
    ['runs', two, on(ran('one')), {}, {}],
    ['the next', two, on(exited('one')), {}, { start: ['two'] }],
    ['then the others', two, on(exited('two'), exited('one')), {}, { start: ['main'] }],
    ['remains removed', two, on(exited('two')), {}, { start: ['main'] }],
    ['failed: again', two, on(exited('one', 1)), {}, { start: ['one'] }],
    ['failed, Never: nothing', { ...two, restartPolicy: 'Never' }, on(exited('one', 1)), {}, {}],
    [
      'again in a new sandbox',
      two,
      on(exited('two', 0, { sandboxId: 'old' }), exited('one', 0, { sandboxId: 'old' })),
      {},
      { start: ['one'] },
    ],
    ['a sidecar', withSide, on(), {}, { start: ['side'] }],
    ['the next beside it', withSide, on(ran('side')), {}, { start: ['two'] }],
    ['a sidecar that has not started', slow, on(ran('side')), {}, {}],
    ['a sidecar that has', slow, on(ran('side')), { verdict: () => true }, { start: ['two'] }],
    [
      'the last one decides; sidecars before it that ended wait for their turn alone',
      { initContainers: [sidecar, container('two'), { ...sidecar, name: 'later' }, container('four')] },
      on(ran('later'), exited('two'), exited('side', 1)),
      { backOffs: backedOff(sidecar, 20_000) },
      { start: ['four'], wait: [['side', 20_000]] },
    ],
    [
      'a sidecar ended beside main',
      withSide,
      on(ran('main'), exited('two'), exited('side', 1)),
      {},
      { start: ['side'] },
    ],
    [
      'a sidecar ended beside main, Never',
      { ...withSide, restartPolicy: 'Never' },
      on(ran('main'), exited('two'), exited('side', 1)),
      {},
      { start: ['side'] },
    ],
  ] as const)('%s', (_title, spec, runtime, more, expected) => {
    expect(decide(spec as never, runtime, more as never)).toEqual(expected)
  })
})
