// What a proxy writes its rules with, and the texts of one that writes as the Go proxy does.
import { spawnSync } from 'node:child_process'
import { compileIptables, compileNftables, iptablesText, nftablesText, nftablesChangeText } from '@nodelet/proxy-rules'
import type { NodeFacts, ProxierOptions, ServiceGraph } from '@nodelet/proxy-rules'
import { endpointRange } from './cluster.ts'
import { nodeIP } from './place.ts'

export const facts: NodeFacts = {
  nodeIPs: { IPv4: nodeIP },
  interfaces: { lo: [`${nodeIP}/32`] },
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'ClusterCIDR', cidrs: [endpointRange] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}

export interface Mode {
  options: Pick<ProxierOptions, 'mode' | 'iptablesVariant' | 'nftablesLayout'>
  /** The program that loads a text, with its arguments; it has to be installed. */
  loader: readonly [program: string, ...args: string[]]
  /** Compiles as the proxy does for a whole load. */
  compile(graph: ServiceGraph): unknown
  /** The text of what `compile` gave. */
  text(program: never): string
  /** What the Go proxy loads at first, and for a change of one Service. */
  whole(graph: ServiceGraph): string
  partial(before: ServiceGraph, after: ServiceGraph, changed: ReadonlySet<string>): string
}

const nftables = (layout: 'fast' | 'compat'): Mode => {
  const compat = (graph: ServiceGraph) => compileNftables(graph, facts, { layout: 'compat' })
  return {
    options: { mode: 'nftables', nftablesLayout: layout },
    loader: ['nft', '-f', '-'],
    compile: (graph) => compileNftables(graph, facts, { layout }),
    text: nftablesText,
    whole: (graph) => nftablesText(compat(graph)),
    partial: (before, after) => {
      const first = compat(before)
      return nftablesChangeText(first, compileNftables(after, facts, { layout: 'compat', previous: first }))
    },
  }
}

const iptables = (variant: 'nft' | 'legacy'): Mode => ({
  options: { mode: 'iptables', iptablesVariant: variant },
  loader: [`iptables-${variant}-restore`, '-w', '5', '--noflush', '--counters'],
  compile: (graph) => compileIptables(graph, facts),
  text: iptablesText,
  whole: (graph) => iptablesText(compileIptables(graph, facts)),
  partial: (before, after, changed) => {
    const existing = compileIptables(before, facts).tables.flatMap(({ chains }) => chains)
    return iptablesText(compileIptables(after, facts, { changed, existing }))
  },
})

export const modes: Readonly<Record<string, Mode>> = {
  'iptables-nft': iptables('nft'),
  'iptables-legacy': iptables('legacy'),
  'nftables-fast': nftables('fast'),
  'nftables-compat': nftables('compat'),
}

export const isInstalled = ({ loader: [program] }: Mode): boolean =>
  spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0
