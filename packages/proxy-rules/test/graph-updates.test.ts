// A graph after changes is the graph that is made anew, and says what changed.
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { changedServices, serviceGraph, type GraphInput } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { emptyGraph, serviceKey, sliceKey, updateServiceGraph } from '../src/graph/service-graph.ts'

const place = { nodeName: 'here', zone: '' }
/** In the order of their nodes the second one is first. */
const names = ['a', 'a-b', 'b'] as const

const service = fc
  .record({ name: fc.constantFrom(...names), port: fc.constantFrom(80, 81, -1), ports: fc.constantFrom(1, 2) })
  .map(({ name, port, ports }): Service => ({
    metadata: { namespace: 'shop', name },
    spec: {
      clusterIP: '10.96.0.1',
      ports: Array.from({ length: ports }, (_, index) => ({ name: `p${index}`, port: port + index })),
    },
  }))

const slice = fc
  .record({
    name: fc.constantFrom('x', 'y', 'z'),
    of: fc.constantFrom(...names, 'nobody', '!'),
    ip: fc.constantFrom('10.99.1.1', '10.99.1.2', 'nonsense'),
    ready: fc.boolean(),
  })
  .map(({ name, of, ip, ready }): EndpointSlice => ({
    metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': of } },
    addressType: 'IPv4',
    endpoints: [{ addresses: [ip], conditions: { ready } }],
    ports: [{ name: 'p0', port: 8080 }],
  }))

const step = fc.record({
  services: fc.uniqueArray(service, { selector: serviceKey }),
  slices: fc.uniqueArray(slice, { selector: ({ metadata }) => metadata?.name }),
})

test('after any changes', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) => {
      let graph = emptyGraph('IPv4', place)
      for (const { services, slices } of steps) {
        const keys = new Set([
          ...graph.sources.map(({ key }) => key),
          ...services.map(serviceKey),
          ...slices.map(sliceKey),
        ])
        const changes = [...keys].map((key) => {
          const own = slices.filter((one) => sliceKey(one) === key)
          return [key, { service: services.find((one) => serviceKey(one) === key), slices: own }] as const
        })
        const next = updateServiceGraph(graph, place, new Map(changes))
        const anew = serviceGraph({ ...place, family: 'IPv4', services, endpointSlices: slices })
        expect(next.nodes).toEqual(anew.nodes)
        expect(next.problems).toEqual(anew.problems)
        // Without what was told, both graphs are compared node by node.
        expect(changedServices(graph, next)).toEqual(changedServices({ ...graph, version: {} }, next))
        const kept = next.nodes.filter(({ key }) => !next.change.keys.has(key))
        for (const node of kept) expect(graph.nodes).toContain(node)
        graph = next
      }
    }),
    { numRuns: 300 },
  )
})

test('slices may be written with hints for nodes, which the published types do not have', () => {
  const input: GraphInput = {
    ...place,
    family: 'IPv4',
    services: [{ metadata: { namespace: 'shop', name: 'a' }, spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] } }],
    endpointSlices: [
      {
        metadata: { namespace: 'shop', name: 'x', labels: { 'kubernetes.io/service-name': 'a' } },
        addressType: 'IPv4',
        endpoints: [
          { addresses: ['10.99.1.1'], hints: { forNodes: [{ name: 'here' }] } },
          { addresses: ['10.99.1.2'], hints: { forNodes: [{ name: 'there' }] } },
        ],
        ports: [{ name: '', port: 8080 }],
      },
    ],
  }
  expect(serviceGraph(input).nodes[0]?.choice.cluster.map(({ address }) => address)).toEqual(['10.99.1.1'])
})
