import type { Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { expect, test } from 'vitest'
import { sliceLabels, slicePlan, wantedSlices } from '../src/controllers/slices.ts'

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

test('a sidecar’s named port counts, that of an init container does not', () => {
  const ports = [{ name: 'http', containerPort: 7000 }]
  const found = (restartPolicy?: string): (number | undefined)[] => {
    const init = { name: 'i', ports, ...(restartPolicy && { restartPolicy }) }
    const spec = { containers: [{ name: 'c' }], initContainers: [init] }
    return wantedSlices(service(), [pod('a', ['10.0.0.1'], { spec })], noNode).flatMap((slice) =>
      slice.ports.map(({ port }) => port),
    )
  }
  expect(found('Always')).toEqual([7000])
  expect(found()).toEqual([])
})

test.each([
  ['10.96.0.7', {}],
  ['None', { 'service.kubernetes.io/headless': '' }],
])('labels of the slices with clusterIP %s', (clusterIP, more) => {
  const one = service({ clusterIP })
  const labels = { tier: 'a', 'service.kubernetes.io/headless': 'lie' }
  expect(sliceLabels({ ...one, metadata: { ...one.metadata, labels } })).toEqual({
    tier: 'a',
    'kubernetes.io/service-name': 'web',
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
    ...more,
  })
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
  const labels = sliceLabels(service())
  const present = (name: string, changes: Partial<EndpointSlice> = {}): EndpointSlice => ({
    metadata: { name, labels },
    ...wanted,
    ...changes,
  })
  expect(slicePlan([wanted], [], labels)).toEqual({ create: [wanted], update: [], remove: [] })
  expect(slicePlan([wanted], [present('s')], labels)).toEqual({ create: [], update: [], remove: [] })
  const old = present('s', { endpoints: [] })
  expect(slicePlan([wanted], [old], labels)).toEqual({ create: [], update: [{ slice: old, wanted }], remove: [] })
  const stale = present('s', { metadata: { name: 's', labels: { app: 'old' } } })
  expect(slicePlan([wanted], [stale], labels).update).toEqual([{ slice: stale, wanted }])
  const turned = present('s', { ports: [{ port: 8080, protocol: 'TCP', name: '' }] })
  expect(slicePlan([wanted], [turned], labels)).toEqual({ create: [], update: [], remove: [] })
  const other = present('t', { addressType: 'IPv6' })
  expect(slicePlan([wanted], [present('s'), other], labels)).toEqual({ create: [], update: [], remove: [other] })
})
