// One meaning: what compiled programs do with packets is what the service graph says.
import { compileIptables, compileNftables, packetMeaning, traceService } from '@nodelet/proxy-rules'
import type { Meaning, Outcome, TracedMode, ServiceGraph, Trace } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseCidr, parseAddress, cidrContains } from '../../src/net/address.ts'
import { cases, graphOf, type Case } from './cluster.ts'

const usualCases = 500
const manyCases = 20_000
const numRuns = Number(process.env['NODELET_CASES'] ?? usualCases)
/** Some 200 cases in a second. */
const timeout = 60_000 + numRuns * 20

/** Outcomes and how probable each is, in a comparable order. */
function distribution(ways: readonly (Outcome & { probability: number })[]): [string, number][] {
  const sums = new Map<string, number>()
  for (const { verdict, translation, masquerade, probability } of ways) {
    const key = JSON.stringify({ verdict, translation, masquerade })
    sums.set(key, (sums.get(key) ?? 0) + probability)
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1))
}

const evenly = ({ outcomes }: Meaning): (Outcome & { probability: number })[] =>
  outcomes.map((outcome) => ({ ...outcome, probability: 1 / outcomes.length }))

interface Tried {
  program: string
  mode: TracedMode
  traces: Trace[]
}

function tryAll({ facts, packet }: Case, graph: ServiceGraph): Tried[] {
  const iptables = compileIptables(graph, facts)
  const layouts = (['compat', 'fast'] as const).map((layout) => compileNftables(graph, facts, { layout }))
  return [
    { program: 'iptables', mode: 'iptables', traces: traceService(iptables, packet, facts) },
    ...layouts.map((program) => ({
      program: `nftables ${program.layout}`,
      mode: 'nftables' as const,
      traces: traceService(program, packet, facts),
    })),
  ]
}

test('every program sends a packet where the graph says, and spreads evenly', { timeout }, () => {
  const seen = new Map<string, number>()
  fc.assert(
    fc.property(cases, (one) => {
      const graph = graphOf(one, one.family)
      for (const { program, mode, traces } of tryAll(one, graph)) {
        const meaning = packetMeaning(graph, one.facts, one.packet, mode)
        if (!meaning) return
        const expected = distribution(evenly(meaning))
        const actual = distribution(traces)
        const told = `${program}, ${meaning.front} of ${meaning.service}`
        expect(
          actual.map(([outcome]) => outcome),
          told,
        ).toEqual(expected.map(([outcome]) => outcome))
        for (const [index, [, probability]] of actual.entries()) {
          // iptables prints ten decimals.
          expect(Math.abs(probability - (expected[index]?.[1] ?? 0)), told).toBeLessThan(1e-9)
        }
        const kind = `${meaning.front ?? 'none'} ${meaning.outcomes[0]?.verdict}`
        seen.set(kind, (seen.get(kind) ?? 0) + 1)
      }
    }),
    { numRuns },
  )
  // The cases are worth their time only when they have everything in them; few may lack what is rare.
  const verdicts = numRuns < manyCases ? ['accept'] : ['accept', 'drop', 'reject']
  for (const front of ['cluster IP', 'external IP', 'load balancer IP', 'node port'])
    for (const verdict of verdicts) expect(seen.get(`${front} ${verdict}`), `${front} ${verdict}`).toBeGreaterThan(0)
})

/** All that packets see otherwise when the mode changes. */
const departures: Record<string, (one: Case, graph: ServiceGraph, of: Meaning) => boolean> = {
  'a mark given to the packet comes before refusals': ({ packet }) => packet.mark !== 0,
  'what fits no connection is forwarded': ({ packet }) => packet.state === 'invalid',
  'nothing of a cluster IP, or of the ranges of cluster IPs, but Services': (_, __, { front }) => front === undefined,
  'node ports are on the primary addresses unless others are named': ({ facts, packet }) =>
    facts.nodePortAddresses.length === 0 && packet.destinationPort >= 30_000,
  'node ports without endpoints are refused on the selected addresses only': ({ packet }, _, { outcomes, front }) =>
    front === 'node port' && packet.destinationPort >= 30_000 && outcomes[0]?.verdict !== 'accept',
  'node ports are on loopback addresses never': ({ packet }) =>
    ['127.0.0.1', '::1'].includes(packet.destination) && packet.destinationPort >= 30_000,
  'external addresses without endpoints are refused for the node itself': ({ packet }, _, { front }) =>
    (front === 'external IP' || front === 'load balancer IP') && packet.inputInterface === undefined,
  'source ranges bind without endpoints': ({ packet }, graph, { front, service }) =>
    front === 'load balancer IP' &&
    graph.nodes.some(
      ({ port, choice }) => port.name === service && !choice.hasAny && outOf(port.sourceRanges, packet.source),
    ),
  'answers to endpoints elsewhere keep their source': ({ packet }, graph, { service }) =>
    graph.nodes.some(
      ({ port, choice }) =>
        port.name === service && choice.reachable.some(({ address, local }) => !local && address === packet.source),
    ),
}

function outOf(ranges: readonly string[], text: string): boolean {
  const address = parseAddress(text)
  const parsed = ranges.map(parseCidr).filter((range) => range !== undefined)
  return address !== undefined && parsed.length > 0 && !parsed.some((range) => cidrContains(range, address))
}

test('modes differ where it is told, and nowhere else', { timeout }, () => {
  const unseen = new Set(Object.keys(departures))
  fc.assert(
    fc.property(cases, (one) => {
      const graph = graphOf(one, one.family)
      const [iptables, compat, fast] = tryAll(one, graph)
      const meaning = packetMeaning(graph, one.facts, one.packet, 'iptables')
      if (!iptables || !compat || !fast || !meaning) return
      const rounded = ({ traces }: Tried): [string, string][] =>
        distribution(traces).map(([outcome, probability]) => [outcome, probability.toFixed(8)])
      expect(rounded(fast)).toEqual(rounded(compat))
      if (JSON.stringify(rounded(iptables)) === JSON.stringify(rounded(compat))) return
      const reasons = Object.entries(departures).filter(([, applies]) => applies(one, graph, meaning))
      expect(reasons, JSON.stringify([rounded(iptables), rounded(compat)])).not.toEqual([])
      if (reasons.length === 1) for (const [reason] of reasons) unseen.delete(reason)
    }),
    { numRuns },
  )
  if (numRuns >= manyCases) expect([...unseen]).toEqual([])
})
