// The package as a bundler makes it for browsers, in a world that has none of Node: it compiles and traces the same.
import { createContext, runInContext } from 'node:vm'
import * as here from '@nodelet/proxy-rules'
import { rolldown } from 'rolldown'
import { expect, test } from 'vitest'
import { exampleInput, exampleNames, nodeFacts, readExample } from './example.ts'

type Rules = Pick<
  typeof here,
  | 'chainHash'
  | 'compileIptables'
  | 'compileIpvs'
  | 'compileNftables'
  | 'iptablesChangeText'
  | 'iptablesRuleset'
  | 'iptablesText'
  | 'ipvsadmText'
  | 'nftablesText'
  | 'serviceGraph'
  | 'traceService'
>

async function inBrowser(): Promise<Rules> {
  const bundle = await rolldown({
    input: 'page',
    platform: 'browser',
    cwd: import.meta.dirname,
    plugins: [
      {
        name: 'page',
        resolveId: (id) => (id === 'page' ? `${import.meta.dirname}/page.js` : undefined),
        load: (id) => (id.endsWith('/page.js') ? `export * from '@nodelet/proxy-rules'` : undefined),
      },
    ],
    // A module that is not there, one of Node's for instance, is a warning.
    onLog: (_level, { message }) => {
      throw new Error(message)
    },
  })
  const { output } = await bundle.generate({ format: 'iife', name: 'rules', minify: true })
  expect(output).toHaveLength(1)
  expect(output[0].code.length).toBeLessThan(200_000)
  const world = createContext({ URL, TextEncoder, TextDecoder, performance })
  runInContext(`${output[0].code};globalThis.rules = rules`, world)
  return (world as { rules: Rules }).rules
}

/** All texts of an example, and what becomes of a packet. */
function textsOf(rules: Rules, name: string): string[] {
  const { facts: given, list } = readExample(name)
  const facts = nodeFacts(given)
  return given.ipFamilies.flatMap((family) => {
    const graph = rules.serviceGraph(exampleInput(given, list.items, family))
    const program = rules.compileIptables(graph, facts)
    const empty = rules.iptablesRuleset(
      rules.serviceGraph({ family, nodeName: 'n', zone: '', services: [], endpointSlices: [] }),
      facts,
    )
    const packet = {
      protocol: 'TCP' as const,
      source: family === 'IPv4' ? '203.0.113.9' : '2001:db8::9',
      destination: graph.nodes[0]?.port.clusterIP ?? '',
      destinationPort: graph.nodes[0]?.port.port ?? 1,
    }
    return [
      rules.iptablesText(program),
      rules.iptablesChangeText(empty, rules.iptablesRuleset(graph, facts)),
      rules.nftablesText(rules.compileNftables(graph, facts, { layout: 'compat' })),
      rules.nftablesText(rules.compileNftables(graph, facts)),
      rules.ipvsadmText(rules.compileIpvs(graph, facts)),
      JSON.stringify(rules.traceService(program, packet, facts)),
    ]
  })
}

test('bundled for a browser, it has the same texts and decisions', async () => {
  const there = await inBrowser()
  for (const name of exampleNames()) expect(textsOf(there, name), name).toEqual(textsOf(here, name))
  for (const text of ['', 'shop/web:http', 'ä'.repeat(200)]) expect(there.chainHash(text)).toBe(here.chainHash(text))
})
