// In-place resize: who may, in which order, and what a pod's containers have meanwhile.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it, test } from 'vitest'
import {
  allocationIn,
  allocationOf,
  changesOf,
  differs,
  needsRestart,
  withAllocation,
} from '../../src/resize/allocation.ts'
import { byTurn, obstacleToResize } from '../../src/resize/decide.ts'
import { createResizer } from '../../src/resize/resizer.ts'

const pod = (name: string, resources: object, spec: object = {}): Pod => ({
  metadata: { name, uid: name },
  spec: { containers: [{ name: 'main', resources }], ...spec },
})
const asks = (name: string, cpu: string, spec: object = {}): Pod => pod(name, { requests: { cpu } }, spec)

describe('allocation', () => {
  const side = { name: 'side', restartPolicy: 'Always', resources: { requests: { cpu: '1' } } }
  const init = { name: 'init', resources: { requests: { cpu: '2' } } }
  const whole = pod('a', { limits: { memory: '64Mi' } }, { initContainers: [init, side] })

  it('is of regular containers and sidecars', () => {
    expect(allocationOf(whole)).toEqual({ main: { limits: { memory: '64Mi' } }, side: { requests: { cpu: '1' } } })
    const given = withAllocation(whole, { main: { limits: { memory: '32Mi' } }, init: { requests: { cpu: '9' } } })
    expect(allocationOf(given)).toEqual({ main: { limits: { memory: '32Mi' } }, side: { requests: { cpu: '1' } } })
    expect(given.spec?.initContainers?.[0]).toBe(whole.spec?.initContainers?.[0])
  })

  it('is read from the status of a pod that ran before', () => {
    expect(allocationIn({ containerStatuses: [] })).toBeUndefined()
    const status = { name: 'main', resources: { limits: { memory: '1Gi' } } }
    expect(allocationIn({ containerStatuses: [status as never] })).toEqual({ main: status.resources })
  })

  test.each([
    [{ requests: { cpu: '1' } }, { requests: { cpu: '1000m' } }, []],
    [{ requests: { cpu: '1' } }, { requests: { cpu: '2' } }, ['cpu']],
    [{}, { limits: { memory: '1Mi' } }, ['memory']],
    [{ limits: { cpu: '1' }, requests: { memory: '1' } }, {}, ['cpu', 'memory']],
  ])('from %j to %j changes %j', (from, to, expected) => {
    expect(changesOf(from, to)).toEqual(expected)
    expect(differs(pod('a', to), { main: from })).toBe(expected.length > 0)
  })

  it('needs a restart only for the resources whose policy says so', () => {
    const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }]
    const container = { name: 'main', resizePolicy }
    expect([needsRestart(container, ['cpu']), needsRestart(container, ['memory', 'cpu'])]).toEqual([false, true])
  })
})

describe('decision', () => {
  const facts = {
    active: [asks('a', '1'), asks('b', '1')],
    allocatable: { cpu: '3', memory: '1Gi', pods: '2' },
    pinned: { cpu: false, memory: false },
  }
  const guaranteed = pod('a', { limits: { cpu: '1', memory: '1Mi' } })
  const isStatic = { ...asks('a', '1'), metadata: { annotations: { 'kubernetes.io/config.source': 'file' } } }
  test.each<[string, Pod, object, object?]>([
    ['fits beside the others', asks('a', '2'), {}],
    [
      'fits later',
      asks('a', '2500m'),
      {},
      {
        reason: 'Deferred',
        message: "Node didn't have enough resource: cpu, requested: 2500, used: 1000, capacity: 3000",
      },
    ],
    [
      'never fits',
      asks('a', '4'),
      {},
      { reason: 'Infeasible', message: "Node didn't have enough capacity: cpu, requested: 4000, capacity: 3000" },
    ],
    [
      'Burstable, with swap',
      pod('a', { requests: { memory: '2Mi' } }),
      { swaps: true, given: pod('a', { requests: { memory: '1Mi' } }) },
      { reason: 'Infeasible', message: 'In-place resize of containers with swap is not supported' },
    ],
    ['static', isStatic, {}, { reason: 'Infeasible', message: 'In-place resize of static-pods is not supported' }],
    [
      'CPUs of its own',
      guaranteed,
      { pinned: { cpu: true, memory: false } },
      { reason: 'Infeasible', message: 'Resize is infeasible for Guaranteed Pods alongside CPU Manager static policy' },
    ],
    ['its CPUs alone, with swap', asks('a', '2'), { swaps: true, given: asks('a', '1') }],
  ])('%s', (_title, wanted, more, expected) => {
    const { given, ...others } = more as { given?: Pod }
    expect(obstacleToResize(wanted, { ...facts, ...others }, given)).toEqual(expected)
  })

  it('lets those go first who give back, then the more important, then the Guaranteed, then who waited longest', () => {
    const wait = (name: string, from: string, to: string, sinceMs: number, spec: object = {}) => ({
      pod: asks(name, to, spec),
      given: asks(name, from, spec),
      sinceMs,
    })
    const limits = { cpu: '2', memory: '1Mi' }
    const all = [
      wait('late', '1', '2', 20),
      wait('early', '1', '2', 10),
      {
        pod: pod('guaranteed', { limits }),
        given: pod('guaranteed', { limits: { ...limits, cpu: '1' } }),
        sinceMs: 30,
      },
      wait('important', '1', '2', 40, { priority: 5 }),
      wait('shrinks', '2', '1', 50),
    ]
    expect(all.toSorted(byTurn).map((one) => one.pod.metadata?.name)).toEqual([
      'shrinks',
      'important',
      'guaranteed',
      'early',
      'late',
    ])
  })
})

it('those who wait are told one at a time when something is given back, and by the clock', async () => {
  let allocatable = { cpu: '2' }
  const active = [asks('a', '1'), asks('b', '1')]
  const told: string[] = []
  const timers: (() => void)[] = []
  const resizer = createResizer({
    facts: () => ({ active, allocatable, pinned: { cpu: false, memory: false } }),
    fits: (uid) => void told.push(uid),
    clock: { now: () => 0, after: (_ms, call) => (timers.push(call), () => {}) },
  })
  const want = (name: string, cpu: string) => resizer.want(asks(name, cpu), asks(name, '1'))?.reason
  expect([want('a', '2'), want('b', '1500m')]).toEqual(['Deferred', 'Deferred'])
  resizer.retry('pods_removed')
  expect(told).toEqual([])
  allocatable = { cpu: '3' }
  timers.shift()?.()
  expect(told).toEqual(['a'])
  expect(want('a', '2')).toBeUndefined()
  active[0] = asks('a', '2')
  await Promise.resolve()
  expect(told).toEqual(['a'])
  allocatable = { cpu: '4' }
  timers.shift()?.()
  expect(told).toEqual(['a', 'b'])
  resizer.close()
})
