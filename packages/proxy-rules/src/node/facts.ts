// What the node and the configuration say.
import type { IPFamily } from '../net/address.ts'

/** How traffic of this node's pods is told from other traffic. */
export type LocalTraffic =
  /** By source address; the first CIDR of the family counts, none of it means no detection. */
  | { mode: 'ClusterCIDR' | 'NodeCIDR'; cidrs: readonly string[] }
  | { mode: 'BridgeInterface'; interface: string }
  | { mode: 'InterfaceNamePrefix'; prefix: string }

/** The node and its proxy configuration, as far as rules depend on them. */
export interface NodeFacts {
  /** The node's own addresses, for source ranges that contain the node and for `primary`. */
  nodeIPs: Partial<Record<IPFamily, string>>
  /** Addresses with their prefix, by interface. */
  interfaces: Readonly<Record<string, readonly string[]>>
  /** CIDRs, or the single word `primary`; none means all addresses, and `primary` in nftables mode. */
  nodePortAddresses: readonly string[]
  /** Masquerade all traffic to cluster IPs. */
  masqueradeAll: boolean
  /** 0 to 31; the mark is this bit. */
  masqueradeBit: number
  /** Let node ports answer on 127.0.0.0/8; never in nftables mode. */
  localhostNodePorts: boolean
  localTraffic: LocalTraffic
  /** iptables has `--random-fully` (1.6.2 and later). */
  randomFully: boolean
  /** The kernel has the two accounting objects that count drops and localhost node ports. */
  nfacct: boolean
  /** nf_conntrack_tcp_be_liberal is set: packets in the state INVALID are let through. */
  conntrackLiberal: boolean
  /** Where cluster IPs come from: what goes to none of them there is dropped. nftables only; default: none. */
  serviceCIDRs?: readonly string[]
}
