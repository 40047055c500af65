// An IPVS program as data: all that one family has on the dummy device, in IPVS, in IP sets and in iptables.
import type { NodePart, Parts } from '../graph/parts.ts'
import type { Protocol } from '../graph/service-port.ts'
import type { IptablesProgram, Rule } from '../iptables/program.ts'
import type { Cidr, IPFamily } from '../net/address.ts'

/** The device that holds the addresses of Services, so that packets to them come to the input hook, where IPVS is. Never up. */
export const dummyDevice = 'kube-ipvs0'

/** Flags of a virtual server, as the kernel numbers them (`IP_VS_SVC_F_*`). */
export const virtualServerFlags = {
  /** A client stays with its real server for `timeoutSeconds`. */
  persistent: 0x1,
  /** `IP_VS_SVC_F_SCHED2`, which the scheduler mh takes for: hash the source port too. */
  sourcePort: 0x10,
} as const

/** Where connections go. Always by masquerading, IPVS's word for destination NAT. */
export interface RealServer {
  address: string
  port: number
  weight: number
}

/** A virtual server of IPVS. Protocol, address and port are its key: a program has one of each at most. */
export interface VirtualServer {
  protocol: Protocol
  address: string
  port: number
  scheduler: string
  /** A sum of {@link virtualServerFlags}. */
  flags: number
  /** How long clients stay with a real server; 0 unless persistent. The netmask is that of a single client, 32 or 128 bits. */
  timeoutSeconds: number
  /** In the order of their `address:port`, byte by byte; none when there are no endpoints: the kernel then refuses. */
  realServers: readonly RealServer[]
}

/** The types of IP sets in use, as the kernel names them. */
export type IpSetType = 'hash:ip' | 'hash:ip,port' | 'hash:ip,port,ip' | 'hash:ip,port,net' | 'bitmap:port'

/**
 * An IP set. Those of type hash have the family, hash size 1024 and at most 65536 entries; bitmaps have no family and range
 * from 0 to 65535.
 */
export interface IpSet {
  /** At most 31 characters; those of IPv6 begin with `KUBE-6-`. */
  name: string
  type: IpSetType
}

/** What an IP set holds, one field for each dimension that its type has. */
export interface SetEntry {
  /** The set's name. */
  set: string
  /** All but bitmaps. */
  address?: string
  /** The types with `hash:ip,port`. */
  protocol?: Protocol
  /** All but hash:ip. */
  port?: number
  /** The last dimension of hash:ip,port,ip. */
  source?: string
  /** The last dimension of hash:ip,port,net: a CIDR with its prefix, host bits cleared. */
  sourceRange?: string
}

/** What one service port asks for. Several may ask for the same thing: {@link createIpvsLedger} knows who prevails. */
export interface IpvsPart extends NodePart {
  virtualServers: readonly VirtualServer[]
  /** For the dummy device, as /32 or /128. */
  addresses: readonly string[]
  entries: readonly SetEntry[]
  /** In KUBE-IPVS-OUT-FILTER: they are in the glue too. */
  rules: readonly Rule[]
}

/** All that one family has. */
export interface IpvsProgram extends Parts<IpvsPart> {
  family: IPFamily
  /** What the node facts give to each service port, to tell whether parts can be used again. */
  style: string
  /** All of them, those without entries too. */
  sets: readonly IpSet[]
  /**
   * The rules of iptables that mark, accept and refuse by these sets: always whole, all of its chains are written again. Needs the
   * sets that it names, and the jumps to its chains (`withMissingJumps` with `ipvsJumps`).
   */
  glue: IptablesProgram
  /** Virtual servers with an address in one of these are somebody else's: they stay where the program has none. */
  excluded: readonly Cidr[]
  /** How many entries the parts ask for in each set, and the parts that have rules: what the glue depends on. */
  demand: Demand
}

/** What the glue depends on besides the node. */
export interface Demand {
  /** By name of the set; none of those without. */
  entries: ReadonlyMap<string, number>
  /** In the order of their keys. */
  withRules: readonly IpvsPart[]
}
