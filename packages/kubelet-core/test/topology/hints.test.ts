// Which place suits all shares of a container.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { decidePlace, type ResourceHints, type TopologyPolicy, type TopologyRules } from '../../src/topology/hints.ts'
import { idsOf, masksOf, maskOf, meanDistance, type NumaNode, readNumaNodes, sizeOf } from '../../src/topology/numa.ts'
import { topologyRules } from '../../src/topology/settings.ts'

const node = (id: number, distances: number[] = []): NumaNode => ({
  id,
  distances: new Map(distances.map((distance, to) => [to, distance])),
  memory: {},
})
const rules = (policy: TopologyPolicy, count = 2, preferClosest = false): TopologyRules => ({
  policy,
  nodes: Array.from({ length: count }, (_, id) => node(id)),
  preferClosest,
})
/** `01+` are nodes 0 and 1, preferred; `*` any. */
const hint = (text: string) => ({
  affinity: text.startsWith('*') ? undefined : maskOf(text.replace('+', '').split('').map(Number)),
  preferred: text.endsWith('+'),
})
const hints = (text: string): ResourceHints => (text === '-' ? undefined : text === '' ? [] : text.split(' ').map(hint))
const shown = ({ affinity, preferred }: { affinity: number | undefined; preferred: boolean }): string =>
  (affinity === undefined ? '*' : idsOf(affinity).join('')) + (preferred ? '+' : '')

describe.each<[TopologyPolicy, [string, string[], string, boolean][]]>([
  [
    'best-effort',
    [
      ['no wishes: anywhere', [], '01+', true],
      ['a resource that does not care', ['-'], '01+', true],
      ['a resource without a place', [''], '01', true],
      ['the first of two that suit', ['0+ 1+'], '0+', true],
      ['the node that both have', ['0+ 1+', '1+ 01'], '1+', true],
      ['two nodes that differ: one of them, not preferred', ['0+', '1+'], '01', true],
      ['two nodes, which one needs and the other can use', ['0+ 01', '01+'], '01', true],
      ['wide for both', ['01+', '01+'], '01+', true],
    ],
  ],
  [
    'restricted',
    [
      ['the node that both have', ['0+ 1+ 01', '1+ 01'], '1+', true],
      ['two nodes, where none would do', ['01+', '01+'], '01+', true],
      ['two nodes, where one would do', ['01'], '01', false],
      ['a resource without a place', ['0+', ''], '0', false],
    ],
  ],
  [
    'single-numa-node',
    [
      ['one node', ['0+ 1+ 01', '1+ 01'], '1+', true],
      ['no wishes: anywhere', [], '*+', true],
      ['a resource that does not care', ['-', '1+'], '1+', true],
      ['two nodes', ['01+', '01+'], '*', false],
      ['nodes that differ', ['0+', '1+'], '*', false],
      ['a resource without a place', [''], '*', false],
    ],
  ],
])('%s', (policy, cases) => {
  test.each(cases)('%s: %j', (_title, own, place, admitted) => {
    const decision = decidePlace(own.map(hints), rules(policy))
    expect([shown(decision.hint), decision.admitted]).toEqual([place, admitted])
  })
})

test.each<[string, string[], string]>([
  ['as large as the largest wish needs', ['0 01 012', '12 01'], '01'],
  ['not larger than needed', ['012 0123', '0123 123'], '012'],
])('what nobody prefers: %s', (_title, own, place) => {
  expect(shown(decidePlace(own.map(hints), rules('best-effort', 4)).hint)).toBe(place)
})

it('of places of one size the closest, when asked for', () => {
  const distances = [
    [10, 20, 30, 12],
    [20, 10, 20, 30],
    [30, 20, 10, 20],
    [12, 30, 20, 10],
  ]
  const nodes = distances.map((own, id) => node(id, own))
  const wish = [hints('01+ 03+ 12+')]
  const place = (preferClosest: boolean): string =>
    shown(decidePlace(wish, { policy: 'restricted', nodes, preferClosest }).hint)
  expect([place(false), place(true), meanDistance(nodes, maskOf([0, 3]))]).toEqual(['01+', '03+', 11])
})

it('is what trying all combinations finds', () => {
  const oneHint = fc.record({
    affinity: fc.option(fc.integer({ min: 1, max: 7 }), { nil: undefined }),
    preferred: fc.boolean(),
  })
  const all = fc.array(fc.array(oneHint, { minLength: 1, maxLength: 4 }), { maxLength: 4 })
  fc.assert(
    fc.property(all, (own) => {
      const combinations = own.reduce<(typeof own)[number][]>(
        (before, next) => before.flatMap((some) => next.map((one) => [...some, one])),
        [[]],
      )
      const places = combinations.map((some) => {
        const bound = some.flatMap(({ affinity }) => (affinity === undefined ? [] : [affinity]))
        const mask = bound.reduce((a, b) => a & b, 7)
        const preferred = some.every((one) => one.preferred) && bound.every((one) => one === bound[0])
        return { mask, preferred }
      })
      const { hint: best, admitted } = decidePlace(own, rules('restricted', 3))
      const able = places.filter(({ mask }) => mask !== 0)
      expect(admitted).toBe(able.some(({ preferred }) => preferred))
      const found = able.some(({ mask, preferred }) => mask === best.affinity && preferred === best.preferred)
      expect(found || (able.length === 0 && best.affinity === 7)).toBe(true)
      if (!admitted) return
      const least = Math.min(...able.filter(({ preferred }) => preferred).map(({ mask }) => sizeOf(mask)))
      expect(sizeOf(best.affinity ?? 0)).toBe(least)
    }),
  )
})

it('eight nodes and five resources are decided at once', () => {
  const every = masksOf([0, 1, 2, 3, 4, 5, 6, 7]).map((affinity) => ({ affinity, preferred: sizeOf(affinity) === 1 }))
  expect(shown(decidePlace([every, every, every, every, every], rules('restricted', 8)).hint)).toBe('0+')
})

test.each<[Record<string, string>, number, string]>([
  [{ 'prefer-closest-numa-nodes': 'yes' }, 1, 'topologyManagerPolicyOptions.prefer-closest-numa-nodes "yes": must be'],
  [{ 'max-allowable-numa-nodes': '4' }, 1, 'topologyManagerPolicyOptions.max-allowable-numa-nodes "4": must be'],
  [{ other: 'true' }, 1, 'topologyManagerPolicyOptions.other "true": there are'],
  [{}, 9, 'topologyManagerPolicy "restricted": this machine has 9 NUMA nodes, more than the 8'],
])('settings %j with %i nodes', (topologyManagerPolicyOptions, count, message) => {
  const { nodes } = rules('restricted', count)
  const settings = { topologyManagerPolicy: 'restricted', topologyManagerPolicyOptions } as const
  expect(() => topologyRules(settings, nodes)).toThrow(message)
})

it('reads the nodes of this machine, of a tree, and of a kernel without them', async () => {
  expect((await readNumaNodes())[0]?.memory['memory']).toBeGreaterThan(1n << 20n)
  const root = await mkdtemp(join(tmpdir(), 'numa-'))
  const file = async (path: string, text: string): Promise<void> => {
    await mkdir(join(root, path, '..'), { recursive: true })
    await writeFile(join(root, path), `${text}\n`)
  }
  await file('meminfo', 'MemTotal:  1024 kB')
  await file('kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', '3')
  expect(await readNumaNodes(root, join(root, 'meminfo'))).toEqual([
    { id: 0, distances: new Map([[0, 10]]), memory: { memory: 1048576n, 'hugepages-2Mi': 3n << 21n } },
  ])
  await file('devices/system/node/online', '0,2')
  await file('devices/system/node/node0/distance', '10 21')
  await file('devices/system/node/node0/meminfo', 'Node 0 MemTotal:  2048 kB')
  await file('devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages', '1')
  await file('devices/system/node/node2/distance', '21 10')
  await file('devices/system/node/node2/meminfo', 'Node 2 MemTotal:  4096 kB')
  const distances = (own: number, other: number) => new Map([[own, 10] as const, [other, 21] as const])
  expect(await readNumaNodes(root)).toEqual([
    { id: 0, distances: distances(0, 2), memory: { memory: 2097152n, 'hugepages-1Gi': 1n << 30n } },
    { id: 2, distances: distances(2, 0), memory: { memory: 4194304n } },
  ])
  await rm(root, { recursive: true })
})
