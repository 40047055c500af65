// What becomes of the tables by changes is what a whole load makes of them.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import {
  changedServices,
  compileIptables,
  iptablesChangeText,
  iptablesRuleset,
  iptablesText,
} from '@nodelet/proxy-rules'
import type { IPFamily, IptablesRuleset, NodeFacts, ServiceGraph } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createIptablesBackend } from '../src/apply/iptables-backend.ts'
import { openIptables } from '../src/apply/iptables-tools.ts'
import { runProgram } from '../src/apply/program.ts'
import { emptyGraph, updateServiceGraph } from '../src/graph/service-graph.ts'
import { changeLoadInTurn } from '../src/iptables/change-text.ts'
import { loadTextsInTurn } from '../src/iptables/load.ts'
import { completeLoadInTurn, wholeLoadInTurn } from '../src/iptables/whole-load.ts'
import { finish } from '../src/slices.ts'
import { joined } from '../src/text-chunks.ts'
import { crowd, facts, place, stepsOf, type Step } from './changing-cluster.ts'
import { contents, restore, type Tables } from './iptables-model.ts'

/** Chains of service ports in one text. */
const few = 7
const families = fc.constantFrom<IPFamily>('IPv4', 'IPv6')
const natChains = (tables: Tables): ReadonlySet<string> => new Set(tables.get('nat')?.keys())
function wholeTexts(graph: ServiceGraph, facts: NodeFacts, natChains: Iterable<string>, most = Infinity): string[] {
  const present = { natChains, insertions: { filter: [], nat: [] } }
  const load = finish(completeLoadInTurn(finish(wholeLoadInTurn(graph, facts, most)), present))
  return finish(loadTextsInTurn(load, most)).map(joined)
}
const wholeText = (graph: ServiceGraph, facts: NodeFacts, existing: Iterable<string> = []): string =>
  wholeTexts(graph, facts, existing).join('')
const changeTexts = (previous: IptablesRuleset, next: IptablesRuleset, most: number): string[] =>
  finish(loadTextsInTurn(finish(changeLoadInTurn(previous, next, most)), most)).map(joined)

/** To compare texts is faster; a difference is shown in full. */
function expectSame(actual: Tables, expected: Tables): void {
  const [a, b] = [contents(actual), contents(expected)]
  if (JSON.stringify(a) !== JSON.stringify(b)) expect(a).toEqual(b)
}

/** Follows the steps by change texts, in one piece and in several, by partial programs, and by whole loads. */
function follow(steps: readonly Step[], family: IPFamily, isLarge: boolean): void {
  const [byChanges, inPieces, byPrograms]: [Tables, Tables, Tables] = [new Map(), new Map(), new Map()]
  let graph = emptyGraph(family, place)
  let ruleset = iptablesRuleset(graph, facts)
  for (const tables of [byChanges, inPieces, byPrograms]) restore(tables, iptablesText(compileIptables(graph, facts)))
  for (const step of steps) {
    const nextGraph = updateServiceGraph(graph, place, step)
    const next = iptablesRuleset(nextGraph, facts, { previous: ruleset })
    restore(byChanges, iptablesChangeText(ruleset, next))
    for (const text of changeTexts(ruleset, next, few)) restore(inPieces, text)
    expectSame(inPieces, byChanges)
    const changed = changedServices(graph, nextGraph)
    const program = compileIptables(nextGraph, facts, { changed, existing: natChains(byPrograms) })
    restore(byPrograms, iptablesText(program))
    expectSame(byChanges, byPrograms)
    if (!isLarge) {
      const anew: Tables = new Map()
      for (const text of wholeTexts(nextGraph, facts, [], few)) restore(anew, text)
      expectSame(byChanges, anew)
    }
    ;[graph, ruleset] = [nextGraph, next]
  }
  expect(iptablesChangeText(ruleset, ruleset)).toBe('')
}

test('after any changes the tables are what partial programs and whole loads make of them', () => {
  fc.assert(
    fc.property(families, stepsOf('IPv4', 8), stepsOf('IPv6', 8), (family, four, six) =>
      follow(family === 'IPv4' ? four : six, family, false),
    ),
    { numRuns: 20 },
  )
})

test('in a large cluster what changes loses its comments, and the rest keeps them', () => {
  const [first, ...steps] = fc.sample(stepsOf('IPv4', 9), { seed: 3, numRuns: 1 })[0] ?? []
  if (!first) throw new Error('no steps')
  follow([first, crowd(998, 'IPv4'), ...steps, crowd(3, 'IPv4'), ...steps.toReversed()], 'IPv4', true)
})

test('whole loads say the same as programs: what is there without being wanted is deleted', () => {
  const [step] = fc.sample(stepsOf('IPv4', 1), { seed: 5, numRuns: 1 })[0] ?? []
  const graph = updateServiceGraph(emptyGraph('IPv4', place), place, step ?? new Map())
  const existing = new Set(['KUBE-SEP-OLD', 'PREROUTING', 'KUBE-SVC-OLD', 'MINE'])
  const lines = (text: string): string[] => text.split('\n').sort()
  const program = compileIptables(graph, facts, { existing })
  expect(lines(wholeText(graph, facts, existing))).toEqual(lines(iptablesText(program)))
  expect(wholeText(graph, facts, existing)).toContain('-X KUBE-SEP-OLD\n-X KUBE-SVC-OLD\nCOMMIT')
})

test.each<[what: string, before: Partial<NodeFacts>, after: Partial<NodeFacts>]>([
  ['another address of the node', { nodePortAddresses: ['192.0.2.0/24'] }, { interfaces: { eth0: ['192.0.2.9/24'] } }],
  ['no such address any more', { nodePortAddresses: ['192.0.2.0/24'] }, { interfaces: {} }],
  ['another mark', {}, { masqueradeBit: 3, conntrackLiberal: true }],
  ['other pods', {}, { localTraffic: { mode: 'BridgeInterface', interface: 'cni0' } }],
  ['counters', {}, { nfacct: true }],
  ['no node ports on loopback', {}, { localhostNodePorts: false }],
])('other facts, %s: the same as a whole load', (_, before, after) => {
  const [first = new Map(), second] = fc.sample(stepsOf('IPv4', 2), { seed: 7, numRuns: 1 })[0] ?? []
  const graph = updateServiceGraph(emptyGraph('IPv4', place), place, first)
  const nextGraph = updateServiceGraph(graph, place, second ?? new Map())
  const [old, now] = [
    { ...facts, ...before },
    { ...facts, ...before, ...after },
  ]
  const ruleset = iptablesRuleset(graph, old)
  const next = iptablesRuleset(nextGraph, now, { previous: ruleset })
  const [changed, loaded]: [Tables, Tables] = [new Map(), new Map()]
  restore(changed, wholeText(graph, old))
  restore(changed, iptablesChangeText(ruleset, next))
  // KUBE-FIREWALL stays: a kubelet may have it.
  restore(loaded, wholeText(graph, old))
  restore(loaded, wholeText(nextGraph, now, natChains(loaded)))
  expectSame(changed, loaded)
})

/** What the kernel has, without counters. */
async function saved(tool: string, netns: string): Promise<string> {
  const { stdout } = await runProgram(`${tool}-save`, [], { netns })
  const lines = stdout.split('\n').filter((line) => !line.startsWith('#'))
  return lines.map((line) => line.replace(/ \[\d+:\d+\]$/, '')).join('\n')
}

async function load(tool: string, netns: string, text: string): Promise<void> {
  const { code, stderr } = await runProgram(`${tool}-restore`, ['-w', '5', '--noflush', '--counters'], {
    netns,
    input: text,
  })
  expect(code, `${stderr}\n${text}`).toBe(0)
}

/** Two network namespaces of its own, in which nothing is left behind. */
async function inTwoPlaces(work: (netns: string, other: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-changes-'))
  const places = [join(folder, 'net'), join(folder, 'other')] as const
  try {
    for (const net of places) pinNamespaces({ paths: { net } })
    await work(...places)
  } finally {
    for (const net of places) unpinNamespace(net)
    rmSync(folder, { recursive: true })
  }
}

const tools = [
  ['iptables-legacy', 'IPv4'],
  ['iptables-nft', 'IPv4'],
  ['ip6tables-nft', 'IPv6'],
] as const
const isInstalled = (tool: string): boolean =>
  ['/usr/sbin', '/sbin', '/usr/local/sbin'].some((folder) => existsSync(join(folder, tool)))

for (const [tool, family] of tools) {
  test.skipIf(!isInstalled(tool))(`${tool}: the kernel has after changes what it has after whole loads`, () =>
    inTwoPlaces(async (netns, other) => {
      const steps = fc.sample(stepsOf(family, 8), { seed: 11, numRuns: 1 })[0] ?? []
      let graph = emptyGraph(family, place)
      let ruleset = iptablesRuleset(graph, facts)
      await Promise.all([netns, other].map((net) => load(tool, net, wholeText(graph, facts))))
      for (const step of steps) {
        graph = updateServiceGraph(graph, place, step)
        const next = iptablesRuleset(graph, facts, { previous: ruleset })
        await load(tool, netns, iptablesChangeText(ruleset, next))
        ruleset = next
        const present = [...(await saved(tool, other)).matchAll(/^:(KUBE-\S+)/gm)].map(([, chain = '']) => chain)
        await load(tool, other, wholeText(graph, facts, present))
        expect(await saved(tool, netns)).toBe(await saved(tool, other))
      }
      expect(await saved(tool, netns)).toContain('-A KUBE-SERVICES')
    }),
  )
}

test('the backend carries changes in pieces; where somebody has meddled it refuses, and a whole load mends it', () =>
  inTwoPlaces(async (netns, other) => {
    const [iptables, reference] = await Promise.all([
      openIptables('IPv4', { netns }),
      openIptables('IPv4', { netns: other }),
    ])
    const backend = createIptablesBackend(iptables, { most: few })
    const none: ReadonlySet<string> = new Set()
    const [first = new Map(), second = new Map()] = fc.sample(stepsOf('IPv4', 2), { seed: 21, numRuns: 1 })[0] ?? []
    let graph = updateServiceGraph(emptyGraph('IPv4', place), place, first)
    const expectRight = async (): Promise<void> => {
      await createIptablesBackend(reference).load(graph, facts, undefined)
      expect(await saved('iptables', netns)).toBe(await saved('iptables', other))
    }
    await backend.load(graph, facts, undefined)
    await expectRight()
    graph = updateServiceGraph(graph, place, second)
    await backend.load(graph, facts, none)
    await expectRight()
    expect((await runProgram('iptables', ['-t', 'nat', '-F', 'KUBE-SERVICES'], { netns })).code).toBe(0)
    const all = new Map([...first, ...second].map(([key]) => [key, { service: undefined, slices: [] }]))
    graph = updateServiceGraph(graph, place, all)
    await expect(backend.load(graph, facts, none)).rejects.toThrow(
      /iptables-restore failed[^]*\n> \d+: -D KUBE-SERVICES/,
    )
    const closing = new AbortController()
    closing.abort(new Error('closed'))
    await expect(backend.load(graph, facts, undefined, closing.signal)).rejects.toThrow('closed')
    await backend.load(graph, facts, none)
    await expectRight()
  }))
