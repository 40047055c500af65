// From where on containers are slowed down.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { pageBytes } from '@nodelet/linux'
import { expect, it, test } from 'vitest'
import { containerResources } from '../src/pod/container-config.ts'
import { memoryHigh, type Throttling } from '../src/resource/memory-high.ts'

const Mi = 1024n ** 2n
const throttling: Throttling = { factor: 0.9, allocatableBytes: 1000n * Mi, pageBytes: 4096 }
const container = (requests: object, limits: object): Container => ({
  name: 'main',
  resources: { requests: { ...requests }, limits: { ...limits } },
})

test.each<[string, Container, Partial<Throttling>, bigint | undefined]>([
  ['between request and limit', container({ memory: '100Mi' }, { memory: '200Mi' }), {}, 190n * Mi],
  ['between request and what the node has', container({ memory: '100Mi' }, {}), {}, 910n * Mi],
  ['a part of what the node has, when nothing is asked for', container({}, {}), {}, 900n * Mi],
  ['in whole pages', container({ memory: '0' }, { memory: '10000' }), {}, 8192n],
  ['by another factor', container({ memory: '100Mi' }, { memory: '200Mi' }), { factor: 0.5 }, 150n * Mi],
  ['never when all is asked for', container({ memory: '100Mi' }, { memory: '100Mi' }), {}, undefined],
  ['never when only a limit is given, which is the request then', container({}, { memory: '1Mi' }), {}, undefined],
  ['never when less than a page is left', container({ memory: '4096' }, { memory: '8191' }), {}, undefined],
])('%s', (_title, one, more, bytes) => expect(memoryHigh(one, { ...throttling, ...more })).toBe(bytes))

it.each([
  ['cgroup v2', 2, throttling, '900'],
  ['cgroup v2 without the gate', 2, undefined, undefined],
  ['cgroup v1', 1, throttling, undefined],
] as const)('on %s the runtime is told so', (_title, cgroupVersion, own, mebibytes) => {
  const pod: Pod = { spec: { containers: [{ name: 'main' }] } }
  const facts = { nodeMemoryBytes: 1000n * Mi, cgroupVersion, throttling: own }
  const { unified } = containerResources(pod, { name: 'main' }, facts)
  expect(unified['memory.high']).toBe(mebibytes && String(BigInt(mebibytes) * Mi))
})

it('a page has the size that the machine says', () => {
  expect([4096, 16_384, 65_536]).toContain(pageBytes())
})
