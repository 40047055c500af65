import type { Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { expect, test } from 'vitest'
import { slicePlan, wantedSlices } from '../src/controllers/slices.ts'

const service = (spec: Service['spec'] = {}): Service => ({
  metadata: { name: 'web', namespace: 'shop' },
  spec: { ipFamilies: ['IPv4'], ports: [{ port: 80, targetPort: 'http' }], ...spec },
})
const pod = (
  name: string,
  ips: string[],
  { ready = true, phase = 'Running', port = 8080, gone = false, spec = {} } = {},
): Pod => ({
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, ...(gone && { deletionTimestamp: '2030-01-01T00:00:00Z' }) },
  spec: { nodeName: 'one', containers: [{ name: 'c', ports: [{ name: 'http', containerPort: port }] }], ...spec },
  status: {
    phase,
    podIPs: ips.map((ip) => ({ ip })),
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  },
})
const noNode = (): undefined => undefined

test('an endpoint says which pod, where, and in what state', () => {
  const zone = (): object => ({ metadata: { labels: { 'topology.kubernetes.io/zone': 'z' } } })
  const named = pod('a', ['10.0.0.1'], { spec: { hostname: 'a', subdomain: 'web' } })
  expect(wantedSlices(service(), [named], zone)).toEqual([
    {
      addressType: 'IPv4',
      ports: [{ name: '', protocol: 'TCP', port: 8080 }],
      endpoints: [
        {
          addresses: ['10.0.0.1'],
          conditions: { ready: true, serving: true, terminating: false },
          hostname: 'a',
          nodeName: 'one',
          zone: 'z',
          targetRef: { kind: 'Pod', namespace: 'shop', name: 'a', uid: 'uid-a' },
        },
      ],
    },
  ])
})

test.each([
  ['not ready', { ready: false }, {}, [false, false, false]],
  ['terminating', { gone: true }, {}, [false, true, true]],
  ['published though not ready', { ready: false }, { publishNotReadyAddresses: true }, [true, false, false]],
  ['published though terminating', { gone: true }, { publishNotReadyAddresses: true }, [true, true, true]],
])('%s', (_, state, spec, expected) => {
  const [slice] = wantedSlices(service(spec), [pod('a', ['10.0.0.1'], state)], noNode)
  const { ready, serving, terminating } = slice?.endpoints[0]?.conditions ?? {}
  expect([ready, serving, terminating]).toEqual(expected)
})

test('pods that ended, have no address or no node are left out; one empty slice stays', () => {
  const none = [
    pod('a', ['10.0.0.1'], { phase: 'Failed' }),
    pod('b', []),
    pod('c', ['10.0.0.3'], { spec: { nodeName: '' } }),
  ]
  expect(wantedSlices(service(), none, noNode)).toEqual([{ addressType: 'IPv4', endpoints: [], ports: [] }])
})

test('both families, each in its slices', () => {
  const both = service({ ipFamilies: ['IPv6', 'IPv4'] })
  const found = wantedSlices(both, [pod('a', ['10.0.0.1', 'fd00::1'])], noNode)
  expect(found.map(({ addressType, endpoints }) => [addressType, endpoints[0]?.addresses])).toEqual([
    ['IPv6', ['fd00::1']],
    ['IPv4', ['10.0.0.1']],
  ])
})

test('a named port that differs between pods makes two slices', () => {
  const found = wantedSlices(service(), [pod('a', ['10.0.0.1']), pod('b', ['10.0.0.2'], { port: 9090 })], noNode)
  expect(found.map(({ ports }) => ports[0]?.port)).toEqual([8080, 9090])
})

test('at most a hundred endpoints are in a slice', () => {
  const many = Array.from({ length: 250 }, (_, index) => pod(`p${String(index).padStart(3, '0')}`, [`10.0.1.${index}`]))
  expect(wantedSlices(service(), many, noNode).map(({ endpoints }) => endpoints.length)).toEqual([100, 100, 50])
})

test('a plan writes only what differs', () => {
  const [wanted] = wantedSlices(service(), [pod('a', ['10.0.0.1'])], noNode)
  if (!wanted) throw new Error('no slice')
  const present = (name: string, changes: Partial<EndpointSlice> = {}): EndpointSlice => ({
    metadata: { name },
    ...wanted,
    ...changes,
  })
  expect(slicePlan([wanted], [])).toEqual({ create: [wanted], update: [], remove: [] })
  expect(slicePlan([wanted], [present('s')])).toEqual({ create: [], update: [], remove: [] })
  const old = present('s', { endpoints: [] })
  expect(slicePlan([wanted], [old])).toEqual({ create: [], update: [{ slice: old, wanted }], remove: [] })
  const other = present('t', { addressType: 'IPv6' })
  expect(slicePlan([wanted], [present('s'), other])).toEqual({ create: [], update: [], remove: [other] })
})
