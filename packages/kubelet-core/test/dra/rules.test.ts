// Which claims a pod needs, what drivers are to do about them, and what its containers get.
import fc from 'fast-check'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it, test } from 'vitest'
import { outcomes } from '../../src/dra/answers.ts'
import { type NeededClaim, neededClaims, type ResourceClaim, usableClaim } from '../../src/dra/claim.ts'
import { cdiIdsOf, healthOfContainer } from '../../src/dra/devices.ts'
import { chooseVersion, draService } from '../../src/dra/service.ts'
import { type ClaimInfo, claimsOf, keyOf, planPrepare, planUnprepare, withPrepared } from '../../src/dra/state.ts'

const metadata = { name: 'p', namespace: 'here', uid: 'pod-1' }
const podOf = (resourceClaims: object[], resourceClaimStatuses: object[] = []): Pod =>
  ({ metadata, spec: { containers: [], resourceClaims }, status: { resourceClaimStatuses } }) as Pod

test.each<[string, object[], object[], NeededClaim[] | string]>([
  ['by name', [{ name: 'a', resourceClaimName: 'x' }], [], [{ entry: 'a', name: 'x', isOwn: false }]],
  [
    'made from a template',
    [{ name: 'a', resourceClaimTemplateName: 't' }],
    [{ name: 'a', resourceClaimName: 'p-a-1' }],
    [{ entry: 'a', name: 'p-a-1', isOwn: true }],
  ],
  ['none was needed', [{ name: 'a', resourceClaimTemplateName: 't' }], [{ name: 'a' }], []],
  [
    'not made yet',
    [{ name: 'a', resourceClaimTemplateName: 't' }],
    [{ name: 'b', resourceClaimName: 'p-b-1' }],
    'pod "here/p": ResourceClaim not created yet',
  ],
  [
    'of neither kind',
    [{ name: 'a' }],
    [],
    'pod "here/p", spec.resourceClaim "a": none of the supported fields are set',
  ],
])('claims that a pod needs: %s', (_, entries, statuses, needed) => {
  const pod = podOf(entries, statuses)
  if (typeof needed === 'string') expect(() => neededClaims(pod)).toThrow(new Error(needed))
  else expect(neededClaims(pod)).toEqual(needed)
})

const allocated = (...drivers: string[]) => ({ devices: { results: drivers.map((driver) => ({ driver })) } })
const owner = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'pod-1', controller: true }
const claimOf = (status: ResourceClaim['status'], ownerReferences: (typeof owner)[] = []): ResourceClaim => ({
  metadata: { name: 'x', namespace: 'here', uid: 'claim-1', ownerReferences },
  ...(status && { status }),
})
const reservedFor = [{ uid: 'other' }, { uid: 'pod-1' }]

test.each<[string, boolean, ResourceClaim, string[] | string]>([
  ['of two drivers', false, claimOf({ reservedFor, allocation: allocated('a', 'b', 'a') }), ['a', 'b']],
  ['of none', false, claimOf({ reservedFor, allocation: {} }), []],
  ['its own', true, claimOf({ reservedFor, allocation: allocated('a') }, [owner]), ['a']],
  [
    'of another pod',
    true,
    claimOf({ reservedFor, allocation: allocated('a') }, [{ ...owner, uid: 'pod-0' }]),
    'ResourceClaim here/x was not created for pod here/p (pod is not owner)',
  ],
  [
    'its own, but not as controller',
    true,
    claimOf({ reservedFor, allocation: allocated('a') }, [{ ...owner, controller: false }]),
    'ResourceClaim here/x was not created for pod here/p (pod is not owner)',
  ],
  [
    'reserved for others',
    false,
    claimOf({ reservedFor: [{ uid: 'other' }], allocation: allocated('a') }),
    'pod p (pod-1) is not allowed to use ResourceClaim x (claim-1)',
  ],
  ['without a status', false, claimOf(undefined), 'pod p (pod-1) is not allowed to use ResourceClaim x (claim-1)'],
  ['not allocated', false, claimOf({ reservedFor }), 'ResourceClaim x: not allocated'],
])('a claim that a pod may use or not: %s', (_, isOwn, claim, drivers) => {
  const use = () => usableClaim(podOf([]), { entry: 'e', name: 'x', isOwn }, claim)
  if (typeof drivers === 'string') return expect(use).toThrow(new Error(drivers))
  expect(use()).toEqual({
    uid: 'claim-1',
    name: 'x',
    namespace: 'here',
    podUids: new Set(),
    drivers: new Map(drivers.map((driver) => [driver, []])),
    prepared: false,
  })
})

const info = (name: string, more: Partial<ClaimInfo> = {}): ClaimInfo => ({
  uid: `uid-${name}`,
  name,
  namespace: 'here',
  podUids: new Set(),
  drivers: new Map([['d', []]]),
  prepared: false,
  ...more,
})
const known = (...claims: ClaimInfo[]) => new Map(claims.map((claim) => [keyOf(claim), claim]))
const ref = (name: string) => ({ uid: `uid-${name}`, name, namespace: 'here' })

it('drivers prepare what is not prepared, each all of its claims in one call', () => {
  const both = new Map([
    ['d', []],
    ['e', []],
  ])
  const before = known(info('a', { podUids: new Set(['q']), prepared: true }), info('b', { podUids: new Set(['q']) }))
  const plan = planPrepare(before, 'p', [info('a'), info('b'), info('c', { drivers: both })])
  expect(plan.calls).toEqual(
    new Map([
      ['d', [ref('b'), ref('c')]],
      ['e', [ref('c')]],
    ]),
  )
  expect(plan.claims.map(({ podUids }) => [...podUids])).toEqual([['q', 'p'], ['q', 'p'], ['p']])
  expect(planPrepare(known(...plan.claims), 'p', [info('a')]).claims).toEqual([plan.claims[0]])
})

it('a claim of before with the name of another one keeps the pod waiting', () => {
  expect(() => planPrepare(known(info('a', { uid: 'old' })), 'p', [info('a')])).toThrow(
    'old ResourceClaim with same name a and different UID old still exists (previous pod force-deleted?!)',
  )
})

it('drivers unprepare what the pod was the last to use; the rest it only lets go', () => {
  const before = known(
    info('own', { podUids: new Set(['p']) }),
    info('shared', { podUids: new Set(['p', 'q']) }),
    info('foreign', { podUids: new Set(['q']) }),
  )
  const plan = planUnprepare(before, 'p')
  expect(plan.calls).toEqual(new Map([['d', [ref('own')]]]))
  expect(plan.claims).toEqual([info('shared', { podUids: new Set(['q']) })])
})

it('a claim is prepared once every one of its drivers has done its part', () => {
  const device = { pool: 'p', device: 'one', requests: [], cdiIds: [] }
  const claim = info('a', {
    drivers: new Map([
      ['d', []],
      ['e', []],
    ]),
  })
  const half = withPrepared(claim, new Map([['d', [device]]]))
  expect(half).toMatchObject({
    prepared: false,
    drivers: new Map([
      ['d', [device]],
      ['e', []],
    ]),
  })
  const whole = withPrepared(
    half,
    new Map([
      ['d', [device]],
      ['e', []],
    ]),
  )
  expect(whole.prepared).toBe(true)
  expect(withPrepared(whole, new Map())).toEqual(whole)
})

it('whatever pods come and go, a claim is kept exactly as long as pods use it', () => {
  const names = ['a', 'b', 'c']
  const step = fc.record({ pod: fc.constantFrom('p', 'q', 'r'), claims: fc.subarray(names), comes: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const claims = new Map<string, ClaimInfo>()
      const uses = new Map<string, Set<string>>()
      for (const { pod, claims: wanted, comes } of steps) {
        const plan = comes
          ? planPrepare(
              claims,
              pod,
              wanted.map((name) => info(name)),
            )
          : planUnprepare(claims, pod)
        for (const claim of plan.claims) claims.set(keyOf(claim), claim)
        if (comes) uses.set(pod, new Set([...(uses.get(pod) ?? []), ...wanted]))
        else {
          for (const { namespace, name } of [...plan.calls.values()].flat()) claims.delete(keyOf({ namespace, name }))
          uses.delete(pod)
        }
        for (const one of ['p', 'q', 'r']) {
          expect(new Set(claimsOf(claims, one).map(({ name }) => name))).toEqual(uses.get(one) ?? new Set())
        }
        expect([...claims.values()].every(({ podUids }) => podUids.size > 0)).toBe(true)
      }
    }),
  )
})

const prepared = known(
  info('x', {
    podUids: new Set(['pod-1']),
    drivers: new Map([
      [
        'd',
        [
          { pool: 'p', device: '1', requests: ['one'], cdiIds: ['d/c=1', 'd/c=all'] },
          { pool: 'p', device: '2', requests: ['two'], cdiIds: ['d/c=2', 'd/c=all'] },
        ],
      ],
      ['e', [{ pool: 'p', device: '3', requests: [], cdiIds: ['e/c=3'] }]],
    ]),
  }),
)
test.each<[string, object[], string[] | string]>([
  ['no claim', [], []],
  ['all requests', [{ name: 'a' }], ['d/c=1', 'd/c=all', 'd/c=2', 'e/c=3']],
  ['one request, and what serves all', [{ name: 'a', request: 'two' }], ['d/c=2', 'd/c=all', 'e/c=3']],
  [
    'two requests, in the order of the devices, no device twice',
    [
      { name: 'a', request: 'two' },
      { name: 'a', request: 'one' },
    ],
    ['d/c=1', 'd/c=all', 'd/c=2', 'e/c=3'],
  ],
  ['one that was not needed', [{ name: 'none' }], []],
  ['one that is not prepared', [{ name: 'b' }], 'ResourceClaim y in namespace here is not prepared'],
])('CDI devices of a container: %s', (_, claims, ids) => {
  const pod = podOf(
    [
      { name: 'a', resourceClaimName: 'x' },
      { name: 'b', resourceClaimName: 'y' },
      { name: 'none', resourceClaimTemplateName: 't' },
    ],
    [{ name: 'none' }],
  )
  const container = { name: 'main', resources: { claims } } as Container
  if (typeof ids === 'string') expect(() => cdiIdsOf(pod, container, prepared)).toThrow(new Error(ids))
  else expect(cdiIdsOf(pod, container, prepared)).toEqual(ids)
})

it('what a container names of claims is told with the health of its devices, by their first CDI name', () => {
  const pod = podOf([{ name: 'a', resourceClaimName: 'x' }])
  const claims = [{ name: 'a' }, { name: 'a', request: 'two' }, { name: 'other' }]
  const container = { name: 'main', resources: { claims } } as Container
  const healthOf = (driver: string, pool: string, device: string) =>
    `${driver}/${pool}/${device}` === 'd/p/2' ? 'Unhealthy' : 'Healthy'
  const second = { resourceID: 'd/c=2', health: 'Unhealthy' }
  const third = { resourceID: 'e/c=3', health: 'Healthy' }
  expect(healthOfContainer(pod, container, prepared, healthOf)).toEqual(
    new Map([
      ['claim:a', [{ resourceID: 'd/c=1', health: 'Healthy' }, second, third]],
      ['claim:a/two', [second, third]],
    ]),
  )
  const bare = { pool: 'p', requests: [], cdiIds: [] }
  const twice = known(info('x', { drivers: new Map([['d', ['1', '2', '2'].map((device) => ({ ...bare, device }))]]) }))
  expect(healthOfContainer(pod, container, twice, healthOf).get('claim:a')).toEqual([
    { resourceID: 'd/p/1', health: 'Healthy' },
    { resourceID: 'd/p/2', health: 'Unhealthy' },
  ])
})

test.each<[string[], string]>([
  [['v1beta1.DRAPlugin', 'v1.DRAPlugin'], 'v1'],
  [['v1beta1.DRAPlugin', 'v1alpha1.DRAResourceHealth'], 'v1beta1'],
])('of %j the newest is used', (offered, version) => {
  expect(chooseVersion(offered)).toBe(version)
})

it('a plugin that speaks nothing known is told what is', () => {
  expect(() => chooseVersion(['v9.DRAPlugin'])).toThrow(
    'none of services supported by the plugin (["v9.DRAPlugin"]) are supported by the kubelet (["v1.DRAPlugin" "v1beta1.DRAPlugin"])',
  )
  expect(() => chooseVersion([])).toThrow('none of services')
  expect(draService('v1beta1').nodePrepareResources.path).toBe(
    '/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/NodePrepareResources',
  )
})

it('what a driver answers is told claim by claim', () => {
  const fine = { error: '' }
  const failed = { error: 'no clock' }
  expect(outcomes('M', [ref('a'), ref('b'), ref('c')], { 'uid-a': fine, 'uid-b': failed })).toEqual(
    new Map<string, unknown>([
      ['uid-a', fine],
      ['uid-b', new Error('M failed for ResourceClaim b: no clock')],
      ['uid-c', new Error('M skipped ResourceClaim c')],
    ]),
  )
  expect(() => outcomes('M', [ref('a')], { 'uid-b': fine })).toThrow('M returned result for unknown claim UID uid-b')
})
