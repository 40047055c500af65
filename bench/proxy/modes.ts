// What a proxy writes its rules with, and the texts of one that writes as the Go proxy does.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { compileIptables, compileIpvs, compileNftables } from '@nodelet/proxy-rules'
import { iptablesText, nftablesText, nftablesChangeText } from '@nodelet/proxy-rules'
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
  /** What a load of a change goes by. */
  channel: 'nodelet:proxy:program' | 'nodelet:linux:netlink'
  /** Compiles as the proxy does for a whole load. */
  compile(graph: ServiceGraph): unknown
  /** The text of what `compile` gave, where there is one. */
  text?(program: never): string
  /** None in IPVS mode: there the Go proxy speaks netlink too. */
  go?: GoTexts
}

/** What the Go proxy loads. */
export interface GoTexts {
  /** The program that loads a text, with its arguments; it has to be installed. */
  loader: readonly [program: string, ...args: string[]]
  /** At first, and for a change of one Service. */
  whole(graph: ServiceGraph): string
  partial(before: ServiceGraph, after: ServiceGraph, changed: ReadonlySet<string>): string
}

/** Where a mode can be measured. */
export type Where = 'here' | 'guest'
export const guestProgram = join(import.meta.dirname, '../../tools/uml-run')

const nftables = (layout: 'fast' | 'compat'): Mode => {
  const compat = (graph: ServiceGraph) => compileNftables(graph, facts, { layout: 'compat' })
  return {
    options: { mode: 'nftables', nftablesLayout: layout },
    channel: 'nodelet:proxy:program',
    compile: (graph) => compileNftables(graph, facts, { layout }),
    text: nftablesText,
    go: {
      loader: ['nft', '-f', '-'],
      whole: (graph) => nftablesText(compat(graph)),
      partial: (before, after) => {
        const first = compat(before)
        return nftablesChangeText(first, compileNftables(after, facts, { layout: 'compat', previous: first }))
      },
    },
  }
}

const iptables = (variant: 'nft' | 'legacy'): Mode => ({
  options: { mode: 'iptables', iptablesVariant: variant },
  channel: 'nodelet:proxy:program',
  compile: (graph) => compileIptables(graph, facts),
  text: iptablesText,
  go: {
    loader: [`iptables-${variant}-restore`, '-w', '5', '--noflush', '--counters'],
    whole: (graph) => iptablesText(compileIptables(graph, facts)),
    partial: (before, after, changed) => {
      const existing = compileIptables(before, facts).tables.flatMap(({ chains }) => chains)
      return iptablesText(compileIptables(after, facts, { changed, existing }))
    },
  },
})

const ipvs: Mode = {
  // The guest has no other iptables.
  options: { mode: 'ipvs', iptablesVariant: 'legacy' },
  channel: 'nodelet:linux:netlink',
  compile: (graph) => compileIpvs(graph, facts),
}

export const modes: Readonly<Record<string, Mode>> = {
  'iptables-nft': iptables('nft'),
  'iptables-legacy': iptables('legacy'),
  'nftables-fast': nftables('fast'),
  'nftables-compat': nftables('compat'),
  ipvs,
}

/** Undefined where it cannot be measured. */
export function whereIs({ go }: Mode): Where | undefined {
  const succeeds = (program: string, ...args: string[]): boolean =>
    spawnSync(program, args, { stdio: 'ignore' }).status === 0
  if (go) return succeeds(go.loader[0], '--version') ? 'here' : undefined
  if (existsSync('/proc/net/ip_vs') || succeeds('modprobe', 'ip_vs')) return 'here'
  return succeeds('linux', '--version') ? 'guest' : undefined
}
