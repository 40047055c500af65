// One meaning: what compiled programs do with packets is what the service graph says.
import { compileIptables, compileIpvs, compileNftables, packetMeaning, traceService } from '@nodelet/proxy-rules'
import type { Meaning, Outcome, RuleMode, ServiceGraph, ServiceNode, Trace } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseCidr, parseAddress, cidrContains } from '../../src/net/address.ts'
import { cases, graphOf, type Case } from './cluster.ts'

const usualCases = 500
const manyCases = 20_000
const numRuns = Number(process.env['NODELET_CASES'] ?? usualCases)
/** Some 100 cases in a second. */
const timeout = 60_000 + numRuns * 50

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
  mode: RuleMode
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
    { program: 'ipvs', mode: 'ipvs', traces: traceService(compileIpvs(graph, facts), packet, facts) },
  ]
}

/** What it does is what the graph says. Returns what the packet is, and what becomes of it. */
function expectMeant({ program, mode, traces }: Tried, graph: ServiceGraph, one: Case): string | undefined {
  const meaning = packetMeaning(graph, one.facts, one.packet, mode)
  if (!meaning) return undefined
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
  return `${meaning.front ?? 'none'} ${meaning.outcomes[0]?.verdict}`
}

type Departures = Record<string, (one: Case, graph: ServiceGraph, of: Meaning) => boolean>

/** All that packets see otherwise when the mode changes from iptables to nftables. */
const toNftables: Departures = {
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

const isLoopback = (text: string): boolean => ['127.0.0.1', '::1'].includes(text)
const isNodePort = (number: number): boolean => number >= 30_000
const has = ({ facts }: Case, address: string): boolean =>
  isLoopback(address) ||
  Object.values(facts.interfaces).some((texts) => texts.some((text) => text.split('/')[0] === address))
const nodesOf = (graph: ServiceGraph, { service }: Meaning, { packet }: Case): ServiceNode[] =>
  graph.nodes.filter(({ port }) => port.name === service && port.protocol === packet.protocol)
const isExternal = ({ front }: Meaning): boolean => front !== undefined && front !== 'cluster IP'
const isServed = ({ outcomes }: Meaning): boolean => outcomes.some(({ translation }) => translation !== undefined)
const isOfServices = (graph: ServiceGraph, address: string): boolean =>
  graph.nodes.some(({ port }) => [port.clusterIP, ...port.externalIPs, ...port.loadBalancerVIPs].includes(address))

/** And from iptables to IPVS. */
const toIpvs: Departures = {
  'a mark given to the packet comes before refusals': ({ packet }) => packet.mark !== 0,
  'what fits no connection is forwarded': ({ packet }) => packet.state === 'invalid',
  'addresses of Services are addresses of the node, with Services alone': ({ packet }, graph, { front }) =>
    front === undefined && isOfServices(graph, packet.destination),
  'endpoints elsewhere stand in for local ones': (one, graph, of) =>
    nodesOf(graph, of, one).some(
      ({ port, choice }) =>
        (isExternal(of) ? port.externalPolicyLocal : port.internalPolicyLocal) &&
        choice.local.length === 0 &&
        choice.cluster.length > 0,
    ),
  'nothing stands in where only the internal policy Local is asked for: it is refused': (one, graph, of) =>
    nodesOf(graph, of, one).some(({ choice }) => choice.hasAny && choice.cluster.length + choice.local.length === 0),
  'the external policy Local binds pods and the node too': (one, graph, of) =>
    isExternal(of) && isServed(of) && nodesOf(graph, of, one).some(({ port }) => port.externalPolicyLocal),
  'external addresses without endpoints are refused for the node itself': ({ packet }, _, of) =>
    isExternal(of) &&
    packet.inputInterface === undefined &&
    of.outcomes.some(({ verdict, translation }) => verdict === 'accept' && translation === undefined),
  'node ports are nothing where they are not served': ({ packet }, _, { front, outcomes }) =>
    front === 'node port' && isNodePort(packet.destinationPort) && outcomes[0]?.verdict !== 'accept',
  'node ports are on loopback addresses never, and anybody may send there': ({ packet }) =>
    isLoopback(packet.destination),
  'the number of a node port is masqueraded on all addresses of the node': (one, _, of) =>
    isNodePort(one.packet.destinationPort) && of.front === undefined && has(one, one.packet.destination),
  'source ranges do not bind the node': ({ packet }, _, { front }) =>
    front === 'load balancer IP' && packet.inputInterface === undefined && packet.state === 'new',
  'source ranges bind packets of any connection, and without endpoints': ({ packet }, graph, { front, service }) =>
    front === 'load balancer IP' &&
    graph.nodes.some(
      ({ port, choice }) =>
        port.name === service && (packet.state !== 'new' || !choice.hasAny) && outOf(port.sourceRanges, packet.source),
    ),
  'a loopback address is nobody to Services': ({ packet }) => isLoopback(packet.source),
  'local endpoints are masqueraded to themselves, ready or not, others not': ({ packet }, graph) =>
    graph.nodes.some(({ endpoints }) => endpoints.some(({ address }) => address === packet.source)),
  'without a way to tell pods what the node sends from a cluster IP is masqueraded': ({ facts, packet }, graph) =>
    facts.localTraffic.mode === 'ClusterCIDR' &&
    facts.localTraffic.cidrs.length === 0 &&
    graph.nodes.some(({ port }) => port.clusterIP === packet.source),
}

function outOf(ranges: readonly string[], text: string): boolean {
  const address = parseAddress(text)
  const parsed = ranges.map(parseCidr).filter((range) => range !== undefined)
  return address !== undefined && parsed.length > 0 && !parsed.some((range) => cidrContains(range, address))
}

const rounded = ({ traces }: Tried): [string, string][] =>
  distribution(traces).map(([outcome, probability]) => [outcome, probability.toFixed(8)])

/** Modes differ where it is told, and nowhere else. Returns what explains a difference alone. */
function expectExplained(tried: readonly Tried[], graph: ServiceGraph, one: Case): string[] {
  const [iptables, compat, fast, ipvs] = tried
  const meaning = packetMeaning(graph, one.facts, one.packet, 'iptables')
  if (!iptables || !compat || !fast || !ipvs || !meaning) return []
  expect(rounded(fast)).toEqual(rounded(compat))
  return [[compat, toNftables] as const, [ipvs, toIpvs] as const].flatMap(([other, departures]) => {
    if (JSON.stringify(rounded(iptables)) === JSON.stringify(rounded(other))) return []
    const reasons = Object.entries(departures).filter(([, applies]) => applies(one, graph, meaning))
    const told = JSON.stringify([rounded(iptables), rounded(other)])
    expect(reasons, `iptables and ${other.program}: ${told}`).not.toEqual([])
    return reasons.length === 1 ? reasons.map(([reason]) => `${other.mode}: ${reason}`) : []
  })
}

test('programs send packets where the graph says, and modes differ where it is told', { timeout }, () => {
  const seen = new Map<string, number>()
  const named = (mode: RuleMode, departures: Departures): string[] =>
    Object.keys(departures).map((reason) => `${mode}: ${reason}`)
  const unexplained = new Set([...named('nftables', toNftables), ...named('ipvs', toIpvs)])
  fc.assert(
    fc.property(cases, (one) => {
      const graph = graphOf(one, one.family)
      const tried = tryAll(one, graph)
      for (const kind of tried.map((program) => expectMeant(program, graph, one)))
        if (kind !== undefined) seen.set(kind, (seen.get(kind) ?? 0) + 1)
      for (const reason of expectExplained(tried, graph, one)) unexplained.delete(reason)
    }),
    { numRuns },
  )
  // The cases are worth their time only when they have everything in them; few may lack what is rare.
  const verdicts = numRuns < manyCases ? ['accept'] : ['accept', 'drop', 'reject']
  for (const front of ['cluster IP', 'external IP', 'load balancer IP', 'node port'])
    for (const verdict of verdicts) expect(seen.get(`${front} ${verdict}`), `${front} ${verdict}`).toBeGreaterThan(0)
  if (numRuns >= manyCases) expect([...unexplained]).toEqual([])
})
