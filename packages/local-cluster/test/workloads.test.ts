import type { Deployment, DeploymentSpec, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { batches, byDeletion, replicaPlan, replicaStatus, selects } from '../src/controllers/replicas.ts'
import {
  deploymentStatus,
  isCurrent,
  rolloutLimits,
  rolloutPlan,
  setAnnotations,
  templateHash,
} from '../src/controllers/rollout.ts'

const now = Date.parse('2030-01-01T00:01:00Z')
const start = '2030-01-01T00:00:00Z'
const pod = (
  name: string,
  { node = 'n', phase = 'Running', ready = true, cost = '', restarts = 0, created = start, since = start } = {},
): Pod => ({
  metadata: {
    name,
    labels: { app: 'web' },
    creationTimestamp: created,
    ...(cost && { annotations: { 'controller.kubernetes.io/pod-deletion-cost': cost } }),
  },
  spec: { containers: [], ...(node && { nodeName: node }) },
  status: {
    phase,
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: since }],
    containerStatuses: [{ name: 'c', image: '', imageID: '', ready, restartCount: restarts }],
  },
})

test('pods go in this order', () => {
  const order = [
    pod('unassigned', { node: '', phase: 'Pending', ready: false }),
    pod('pending', { phase: 'Pending', ready: false }),
    pod('not-ready', { ready: false }),
    pod('cheap', { cost: '-5' }),
    pod('just ready', { since: '2030-01-01T00:00:40Z' }),
    pod('restarted', { restarts: 3 }),
    pod('young', { created: '2030-01-01T00:00:30Z' }),
    pod('old'),
    pod('dear', { cost: '7' }),
  ]
  const set: ReplicaSet = { spec: { replicas: 0, selector: {} } }
  expect(order.toReversed().toSorted(byDeletion)).toEqual(order)
  expect(replicaPlan(set, order.toReversed()).remove).toEqual(order)
  expect(replicaPlan({ spec: { replicas: 7, selector: {} } }, order)).toEqual({ create: 0, remove: order.slice(0, 2) })
  expect(replicaPlan({ spec: { replicas: 11, selector: {} } }, order)).toEqual({ create: 2, remove: [] })
})

test.each([
  [0, []],
  [1, [1]],
  [2, [1, 1]],
  [10, [1, 2, 4, 3]],
])('%d pods are made in batches of %j', (count, expected) => {
  expect(batches(count)).toEqual(expected)
})

test('selectors: expressions count, an empty one takes nothing', () => {
  expect(selects({ matchLabels: { app: 'web' } }, { app: 'web', x: 'y' })).toBe(true)
  expect(selects({ matchExpressions: [{ key: 'app', operator: 'In', values: ['db'] }] }, { app: 'web' })).toBe(false)
  expect(selects({}, { app: 'web' })).toBe(false)
  expect(selects(undefined, {})).toBe(false)
})

test('pods are available after minReadySeconds, and the time of that is told', () => {
  const set: ReplicaSet = {
    metadata: { generation: 4 },
    spec: { replicas: 3, selector: {}, minReadySeconds: 45, template: { metadata: { labels: { app: 'web' } } } },
  }
  const pods = [pod('a'), pod('b', { since: '2030-01-01T00:00:30Z' }), pod('c', { ready: false })]
  expect(replicaStatus(set, pods, now)).toEqual({
    status: { replicas: 3, fullyLabeledReplicas: 3, readyReplicas: 2, availableReplicas: 1, observedGeneration: 4 },
    nextMs: 15_000,
  })
})

const deployment = (spec: Partial<DeploymentSpec>, status: Deployment['status'] = {}): Deployment => ({
  metadata: { name: 'web', generation: 1 },
  spec: { selector: {}, template: {}, ...spec },
  status,
})
const rolling = (maxSurge: number | string, maxUnavailable: number | string): Partial<DeploymentSpec> => ({
  strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } },
})
const set = (name: string, replicas: number, available = replicas): ReplicaSet => ({
  metadata: { name, creationTimestamp: `2030-01-01T00:00:0${name.length}Z` },
  spec: { replicas, selector: {} },
  status: { replicas, readyReplicas: available, availableReplicas: available },
})

test.each([
  [10, rolling('25%', '25%'), { surge: 3, unavailable: 2 }],
  [1, rolling('25%', '25%'), { surge: 1, unavailable: 0 }],
  [1, rolling(0, '25%'), { surge: 0, unavailable: 1 }],
  [2, rolling(0, 5), { surge: 0, unavailable: 2 }],
])('%d replicas with %j: %j', (replicas, spec, limits) => {
  expect(rolloutLimits(deployment({ replicas, ...spec }))).toEqual(limits)
})

test.each<[string, Partial<DeploymentSpec>, ReplicaSet, ReplicaSet[], number, Record<string, number>]>([
  ['surge first', rolling(1, 0), set('new', 0), [set('a', 3)], 3, { new: 1 }],
  ['nothing while the new one is not available', rolling(1, 0), set('new', 1, 0), [set('a', 3)], 3, {}],
  ['an old one goes for each new that is available', rolling(1, 0), set('new', 1), [set('a', 3)], 3, { a: 2 }],
  ['both at once', rolling(1, 1), set('new', 0), [set('a', 3)], 3, { new: 1, a: 2 }],
  ['broken old ones go first', rolling(0, 1), set('new', 0), [set('a', 1, 0), set('bb', 2)], 3, { a: 0 }],
  ['the end', rolling(1, 0), set('new', 3), [set('a', 1)], 1, { a: 0 }],
  ['fewer replicas', rolling(1, 0), set('new', 5), [], 0, { new: 3 }],
  ['Recreate ends all', { strategy: { type: 'Recreate' } }, set('new', 0), [set('a', 3)], 3, { a: 0 }],
  ['Recreate waits while old ones terminate', { strategy: { type: 'Recreate' } }, set('new', 0), [set('a', 0)], 1, {}],
  ['Recreate then begins', { strategy: { type: 'Recreate' } }, set('new', 0), [set('a', 0)], 0, { new: 3 }],
])('rollout: %s', (_, spec, current, old, oldPods, expected) => {
  const plan = rolloutPlan(deployment({ replicas: 3, ...spec }), current, old, oldPods)
  expect(Object.fromEntries(plan)).toEqual(expected)
})

test('the template alone makes the hash, whatever the order of its keys', () => {
  const template = { metadata: { labels: { a: '1', b: '2' } }, spec: { containers: [{ name: 'c', image: 'i' }] } }
  const turned = { spec: { containers: [{ image: 'i', name: 'c' }] }, metadata: { labels: { b: '2', a: '1' } } }
  expect(templateHash(template)).toBe(templateHash(turned))
  expect(templateHash(template)).toMatch(/^[bcdfghjklmnpqrstvwxz2456789]{10}$/)
  const labels = { ...template.metadata.labels, 'pod-template-hash': 'x' }
  const made: ReplicaSet = { spec: { selector: {}, template: { ...turned, metadata: { labels } } } }
  expect(isCurrent(deployment({ template }), made)).toBe(true)
  expect(isCurrent(deployment({ template: { ...template, spec: { containers: [] } } }), made)).toBe(false)
})

test('conditions: progressing, done, late', () => {
  const wanted = { replicas: 2, progressDeadlineSeconds: 60, ...rolling(1, 0) }
  const conditions = (one: Deployment, sets: ReplicaSet[], at: number): string[] =>
    (deploymentStatus(one, sets[0], sets, at).conditions ?? []).map(
      ({ type, status, reason }) => `${type}=${status} ${reason}`,
    )
  const begun = deploymentStatus(deployment(wanted), set('new', 2, 1), [set('new', 2, 1)], now)
  expect(begun).toMatchObject({ replicas: 2, updatedReplicas: 2, availableReplicas: 1, unavailableReplicas: 1 })
  const stuck = deployment(wanted, begun)
  expect(conditions(stuck, [set('new', 2, 1)], now + 59_000)).toEqual([
    'Available=False MinimumReplicasUnavailable',
    'Progressing=True ReplicaSetUpdated',
  ])
  expect(conditions(stuck, [set('new', 2, 1)], now + 60_000)[1]).toBe('Progressing=False ProgressDeadlineExceeded')
  expect(conditions(stuck, [set('new', 2)], now + 60_000)).toEqual([
    'Available=True MinimumReplicasAvailable',
    'Progressing=True NewReplicaSetAvailable',
  ])
})

test('a failure to make pods is told until an attempt succeeds', () => {
  const empty: ReplicaSet = { spec: { replicas: 1, selector: {} } }
  const failure = { reason: 'FailedCreate', error: new Error('no room') } as const
  const failed = replicaStatus(empty, [], now, failure).status
  expect(failed.conditions).toEqual([
    {
      type: 'ReplicaFailure',
      status: 'True',
      reason: 'FailedCreate',
      message: 'no room',
      lastTransitionTime: '2030-01-01T00:01:00Z',
    },
  ])
  const later = { ...empty, status: failed }
  expect(replicaStatus(later, [], now + 5000, failure).status.conditions).toEqual(failed.conditions)
  expect(replicaStatus(later, [], now + 5000).status.conditions).toEqual([])
  const told = deploymentStatus(deployment({ replicas: 1 }), { ...set('new', 1, 0), status: failed }, [later], now)
  expect(told.conditions?.[2]).toMatchObject({ type: 'ReplicaFailure', reason: 'FailedCreate', message: 'no room' })
})

test.each<[string, ReplicaSet, ReplicaSet[], Partial<DeploymentSpec>, number, string]>([
  ['pods that fail later begin no rollout', set('new', 2, 1), [], {}, 0, 'True NewReplicaSetAvailable'],
  ['a new template begins one', set('newer', 1, 0), [set('new', 2)], {}, 0, 'True ReplicaSetUpdated'],
  ['paused', set('new', 2, 1), [], { paused: true }, 3_600_000, 'Unknown DeploymentPaused'],
])('after a rollout: %s', (_, current, old, spec, later, expected) => {
  const done = deploymentStatus(deployment({ replicas: 2 }), set('new', 2), [set('new', 2)], now)
  const { conditions } = deploymentStatus(
    deployment({ replicas: 2, ...spec }, done),
    current,
    [current, ...old],
    now + later,
  )
  expect(`${conditions?.[1]?.status} ${conditions?.[1]?.reason}`).toBe(expected)
})

test('a rollout that was late is over with the next template, and stays late while paused', () => {
  const wanted = { replicas: 2, progressDeadlineSeconds: 60, ...rolling(1, 0) }
  const stuck = [set('bad', 1, 0), set('old', 2)]
  const begun = deploymentStatus(deployment(wanted), stuck[0], stuck, now)
  const late = deploymentStatus(deployment(wanted, begun), stuck[0], stuck, now + 60_000)
  expect(late.conditions?.[1]).toMatchObject({ status: 'False', reason: 'ProgressDeadlineExceeded' })
  const fixed = [set('good', 1, 0), set('bad', 0), set('old', 2)]
  expect(deploymentStatus(deployment(wanted, late), fixed[0], fixed, now + 61_000).conditions?.[1]).toMatchObject({
    status: 'True',
    reason: 'ReplicaSetUpdated',
    message: 'ReplicaSet "good" is progressing.',
    lastUpdateTime: '2030-01-01T00:02:01Z',
  })
  const paused = deploymentStatus(deployment({ ...wanted, paused: true }, late), stuck[0], stuck, now + 61_000)
  expect(paused.conditions?.[1]).toEqual(late.conditions?.[1])
})

test('annotations of sets: the Deployment’s but not what kubectl keeps there; sizes by strategy', () => {
  const one = deployment({ replicas: 4, ...rolling('25%', 0) })
  const annotations = {
    'kubernetes.io/change-cause': 'why',
    'kubectl.kubernetes.io/last-applied-configuration': '{}',
    'deployment.kubernetes.io/revision': '9',
  }
  expect(setAnnotations({ ...one, metadata: { annotations } }, 3)).toEqual({
    'kubernetes.io/change-cause': 'why',
    'deployment.kubernetes.io/revision': '3',
    'deployment.kubernetes.io/desired-replicas': '4',
    'deployment.kubernetes.io/max-replicas': '5',
  })
  expect(setAnnotations(deployment({ replicas: 4, strategy: { type: 'Recreate' } }), 1)).toMatchObject({
    'deployment.kubernetes.io/max-replicas': '4',
  })
  expect(templateHash({}, 1)).not.toBe(templateHash({}))
})
