// The modes that the rows are tried in. Another back end needs no more than this.
import { compileIptables, compileNftables, traceService } from '@nodelet/proxy-rules'
import type { IPFamily, NodeFacts, NftablesLayout, Packet, ServiceGraph, Trace } from '@nodelet/proxy-rules'
import type { RuleBackend } from '../../src/apply/backend.ts'
import { createIptablesBackend } from '../../src/apply/iptables-backend.ts'
import { openIptables } from '../../src/apply/iptables-tools.ts'
import { openNft } from '../../src/apply/nft.ts'
import { createNftablesBackend } from '../../src/apply/nftables-backend.ts'
import { silentLogger } from '../../src/log.ts'

export interface Mode {
  name: string
  /** Default: both. */
  families?: readonly IPFamily[]
  /** What its proxy makes of an empty configuration. */
  facts: Pick<NodeFacts, 'localhostNodePorts' | 'nodePortAddresses'>
  open(family: IPFamily, netns: string): Promise<RuleBackend>
  /** What the tracer says of a packet; undefined when there is no tracer for this mode. */
  tracer(graph: ServiceGraph, facts: NodeFacts): ((packet: Packet) => Trace[]) | undefined
}

const iptables: Mode = {
  name: 'iptables',
  facts: { localhostNodePorts: true, nodePortAddresses: [] },
  open: async (family, netns) => createIptablesBackend(await openIptables(family, { netns })),
  tracer: (graph, facts) => {
    const program = compileIptables(graph, facts)
    return (packet) => traceService(program, packet, facts)
  },
}

const nftables = (layout: NftablesLayout): Mode => ({
  name: `nftables ${layout}`,
  facts: { localhostNodePorts: false, nodePortAddresses: ['primary'] },
  open: async (family, netns) =>
    createNftablesBackend({ nft: await openNft(family, netns), layout, log: silentLogger }),
  tracer: (graph, facts) => {
    const program = compileNftables(graph, facts, { layout })
    return (packet) => traceService(program, packet, facts)
  },
})

export const modes: readonly Mode[] = [iptables, nftables('compat'), nftables('fast')]
