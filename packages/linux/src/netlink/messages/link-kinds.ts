// What is particular to each kind of link, as the attributes IFLA_INFO_DATA and back. Pure. @see ip-link(8)
import { be16, decodeTable, encodeTable, flag, ip, names, seconds, u16, u32, u8 } from './codec.ts'
import type { Codec, Table } from './codec.ts'
import type { Attribute } from './message.ts'

/** EtherType of the tags. */
export type VlanProtocol = '802.1Q' | '802.1ad'

export interface BridgeDetails {
  kind: 'bridge'
  /** Whether it keeps VLANs apart. */
  vlanFiltering?: boolean
  /** The VLAN that new ports are in, untagged; 0: none. */
  defaultPvid?: number
  vlanProtocol?: VlanProtocol
  /** How long an address is remembered after its last frame; kernel's default 300. */
  ageingSeconds?: number
  /** How long a port listens and learns before it forwards, with the spanning tree protocol. */
  forwardDelaySeconds?: number
  stp?: boolean
  multicastSnooping?: boolean
}
export interface VethDetails {
  kind: 'veth'
}
export interface VlanDetails {
  kind: 'vlan'
  id: number
  /** Default 802.1Q. */
  protocol?: VlanProtocol
}
export interface MacvlanDetails {
  kind: 'macvlan'
  /** Kernel's default: vepa. */
  mode?: 'private' | 'vepa' | 'bridge' | 'passthru' | 'source'
  /** How many broadcast and multicast packets may wait; kernel's default 1000. */
  broadcastQueueLength?: number
}
export interface IpvlanDetails {
  kind: 'ipvlan'
  /** Kernel's default: l3. */
  mode?: 'l2' | 'l3' | 'l3s'
}
export interface DummyDetails {
  kind: 'dummy'
}
export interface IfbDetails {
  kind: 'ifb'
}
export interface VrfDetails {
  kind: 'vrf'
  /** The routing table of its ports. */
  table: number
}
export interface VxlanDetails {
  kind: 'vxlan'
  id: number
  /** UDP port of the other ends; kernel's default 8472, by IANA 4789. */
  port?: number
  /** Address that packets are sent from. */
  local?: string
  /** Where packets go whose destination is not known: an address, or a multicast group. */
  remote?: string
  /** Index of the link that packets leave by. */
  through?: number
  /** Whether it learns where addresses are; default true. */
  learning?: boolean
}
/** Made by `addTap`; here as it is read. */
export interface TunDetails {
  kind: 'tun'
  /** Frames or packets. */
  mode?: 'tun' | 'tap'
  owner?: number
  group?: number
  persistent?: boolean
  multiQueue?: boolean
  vnetHeader?: boolean
}

export type LinkDetails =
  | BridgeDetails
  | VethDetails
  | VlanDetails
  | MacvlanDetails
  | IpvlanDetails
  | DummyDetails
  | IfbDetails
  | VrfDetails
  | VxlanDetails
  | TunDetails

interface Kind {
  encode(details: LinkDetails): Attribute[]
  decode(attributes: ReadonlyMap<number, Buffer>): object
}

function kind<Details extends LinkDetails>(table: Table<Omit<Details, 'kind'>>): Kind {
  return {
    encode: (details) => encodeTable(table, details as Details),
    decode: (attributes) => decodeTable(table, attributes),
  }
}

const vlanProtocol: Codec<VlanProtocol> = names(be16, { '802.1Q': 0x8100, '802.1ad': 0x88a8 })
const IFLA_VXLAN = { GROUP: 2, LOCAL: 4, GROUP6: 16, LOCAL6: 17 }
const vxlan = kind<VxlanDetails>({
  id: [1, u32], // IFLA_VXLAN_ID
  remote: [IFLA_VXLAN.GROUP, ip],
  through: [3, u32], // IFLA_VXLAN_LINK
  local: [IFLA_VXLAN.LOCAL, ip],
  learning: [7, flag], // IFLA_VXLAN_LEARNING
  port: [15, be16], // IFLA_VXLAN_PORT
})

const kinds: Record<LinkDetails['kind'], Kind> = {
  bridge: kind<BridgeDetails>({
    forwardDelaySeconds: [1, seconds], // IFLA_BR_FORWARD_DELAY
    ageingSeconds: [4, seconds], // IFLA_BR_AGEING_TIME
    stp: [5, { encode: (on) => u32.encode(on ? 1 : 0), decode: (from) => u32.decode(from) !== 0 }], // IFLA_BR_STP_STATE
    vlanProtocol: [8, vlanProtocol], // IFLA_BR_VLAN_PROTOCOL
    vlanFiltering: [7, flag], // IFLA_BR_VLAN_FILTERING
    multicastSnooping: [23, flag], // IFLA_BR_MCAST_SNOOPING
    defaultPvid: [39, u16], // IFLA_BR_VLAN_DEFAULT_PVID
  }),
  veth: kind<VethDetails>({}),
  vlan: kind<VlanDetails>({
    id: [1, u16], // IFLA_VLAN_ID
    protocol: [5, vlanProtocol], // IFLA_VLAN_PROTOCOL
  }),
  macvlan: kind<MacvlanDetails>({
    mode: [1, names(u32, { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 })], // IFLA_MACVLAN_MODE
    broadcastQueueLength: [7, u32], // IFLA_MACVLAN_BC_QUEUE_LEN
  }),
  ipvlan: kind<IpvlanDetails>({
    mode: [1, names(u16, { l2: 0, l3: 1, l3s: 2 })], // IFLA_IPVLAN_MODE
  }),
  dummy: kind<DummyDetails>({}),
  ifb: kind<IfbDetails>({}),
  vrf: kind<VrfDetails>({
    table: [1, u32], // IFLA_VRF_TABLE
  }),
  // Addresses of the two families have attributes of their own.
  vxlan: {
    encode: (details) =>
      vxlan.encode(details).map(([type, content]) => {
        if (!(content instanceof Buffer) || content.length !== 16) return [type, content]
        return [type === IFLA_VXLAN.GROUP ? IFLA_VXLAN.GROUP6 : IFLA_VXLAN.LOCAL6, content]
      }),
    decode(attributes) {
      const [remote, local] = [attributes.get(IFLA_VXLAN.GROUP6), attributes.get(IFLA_VXLAN.LOCAL6)]
      const all = new Map(attributes)
      if (remote) all.set(IFLA_VXLAN.GROUP, remote)
      if (local) all.set(IFLA_VXLAN.LOCAL, local)
      return vxlan.decode(all)
    },
  },
  tun: kind<TunDetails>({
    owner: [1, u32], // IFLA_TUN_OWNER
    group: [2, u32], // IFLA_TUN_GROUP
    mode: [3, names(u8, { tun: 1, tap: 2 })], // IFLA_TUN_TYPE
    vnetHeader: [5, flag], // IFLA_TUN_VNET_HDR
    persistent: [6, flag], // IFLA_TUN_PERSIST
    multiQueue: [7, flag], // IFLA_TUN_MULTI_QUEUE
  }),
}

export const encodeDetails = (details: LinkDetails): Attribute[] => kinds[details.kind].encode(details)

/** Undefined for a kind that is not known here. */
export function decodeDetails(name: string, attributes: ReadonlyMap<number, Buffer>): LinkDetails | undefined {
  if (!Object.hasOwn(kinds, name)) return undefined
  const known = name as LinkDetails['kind']
  return { kind: known, ...kinds[known].decode(attributes) } as LinkDetails
}
