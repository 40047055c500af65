import { changedServices, compileIptables, iptablesText } from '@nodelet/proxy-rules'
import { describe, expect, it } from 'vitest'
import { afterStep, exampleGraph, exampleNames, golden, nodeFacts, readExample } from './example.ts'
import { normalise } from './normalise.ts'

const suffix = { IPv4: 'iptables', IPv6: 'ip6tables' } as const
const cases = exampleNames().flatMap((name) =>
  readExample(name).facts.ipFamilies.map((family) => ({ name, family, file: `${name}.${suffix[family]}` })),
)

describe('worked examples', () => {
  it.each(cases)('$file', ({ name, family, file }) => {
    const { facts, list } = readExample(name)
    const program = compileIptables(exampleGraph(facts, list.items, family), nodeFacts(facts))
    expect(normalise(iptablesText(program))).toBe(golden(file))
  })

  it('16: three partial syncs', () => {
    const { facts, list, steps = [] } = readExample('16-partial-sync')
    let items = list.items
    let graph = exampleGraph(facts, items, 'IPv4')
    const existing = new Set(compileIptables(graph, nodeFacts(facts)).tables[1]?.chains)
    for (const [index, step] of steps.entries()) {
      items = afterStep(items, step)
      const next = exampleGraph(facts, items, 'IPv4')
      const program = compileIptables(next, nodeFacts(facts), { changed: changedServices(graph, next), existing })
      expect(normalise(iptablesText(program)), step.note).toBe(golden(`16-partial-sync.step${index + 1}.iptables`))
      for (const table of program.tables) {
        for (const chain of table.chains) existing.add(chain)
        for (const chain of table.deletions) existing.delete(chain)
      }
      graph = next
    }
  })
})
