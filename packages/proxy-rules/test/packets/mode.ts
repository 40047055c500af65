// The modes that the rows are tried in. Another back end needs no more than this.
import { compileIptables, compileIpvs, compileNftables, traceService } from '@nodelet/proxy-rules'
import type { IPFamily, NodeFacts, NftablesLayout, Packet, ProxyMode, ServiceGraph, Trace } from '@nodelet/proxy-rules'
import type { RuleBackend } from '../../src/apply/backend.ts'
import { createIptablesBackend } from '../../src/apply/iptables-backend.ts'
import { openIptables } from '../../src/apply/iptables-tools.ts'
import { createIpvsBackend } from '../../src/apply/ipvs-backend.ts'
import { prepareIpvs } from '../../src/apply/ipvs-kernel.ts'
import { openNft } from '../../src/apply/nft.ts'
import { createNftablesBackend } from '../../src/apply/nftables-backend.ts'
import { silentLogger } from '../../src/log.ts'
import type { Setting } from './row.ts'

export interface Mode {
  name: string
  proxyMode: ProxyMode
  /** Default: both. */
  families?: readonly IPFamily[]
  /** Endpoints get connections in turn, not by chance. */
  takesTurns?: true
  /** What its proxy makes of an empty configuration. */
  facts: Pick<NodeFacts, 'localhostNodePorts' | 'nodePortAddresses'>
  /** What all rows may have at once, for it does not look at it. */
  always?: Pick<Setting, 'serviceCIDRs'>
  open(family: IPFamily, netns: string): Promise<RuleBackend>
  /** What the tracer says of a packet; undefined when there is no tracer for this mode. */
  tracer(graph: ServiceGraph, facts: NodeFacts): ((packet: Packet) => Trace[]) | undefined
}

const iptables: Mode = {
  name: 'iptables',
  proxyMode: 'iptables',
  facts: { localhostNodePorts: true, nodePortAddresses: [] },
  open: async (family, netns) => createIptablesBackend(await openIptables(family, { netns })),
  tracer: (graph, facts) => {
    const program = compileIptables(graph, facts)
    return (packet) => traceService(program, packet, facts)
  },
}

const nftables = (layout: NftablesLayout): Mode => ({
  name: `nftables ${layout}`,
  proxyMode: 'nftables',
  facts: { localhostNodePorts: false, nodePortAddresses: ['primary'] },
  open: async (family, netns) =>
    createNftablesBackend({ nft: await openNft(family, netns), layout, log: silentLogger }),
  tracer: (graph, facts) => {
    const program = compileNftables(graph, facts, { layout })
    return (packet) => traceService(program, packet, facts)
  },
})

const ipvs: Mode = {
  name: 'ipvs',
  proxyMode: 'ipvs',
  takesTurns: true,
  always: { serviceCIDRs: ['10.96.0.0/16', 'fd96::/112'] },
  facts: { localhostNodePorts: false, nodePortAddresses: [] },
  open: async (family, netns) => {
    await prepareIpvs('rr', {}, silentLogger, netns)
    return createIpvsBackend({
      iptables: await openIptables(family, { netns, variant: 'legacy' }),
      settings: {},
      netns,
      log: silentLogger,
    })
  },
  tracer: (graph, facts) => {
    const program = compileIpvs(graph, facts)
    return (packet) => traceService(program, packet, facts)
  },
}

/** Those of this machine: the guest's kernel has IPVS and no nf_tables. */
export const modes: readonly Mode[] = process.env['UML'] ? [ipvs] : [iptables, nftables('compat'), nftables('fast')]
