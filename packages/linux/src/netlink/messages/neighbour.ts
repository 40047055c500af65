// Neighbours (ARP and NDP) and forwarding entries of bridges and vxlans, which are one message. @see ip-neighbour(8), bridge(8)
import { be16, decodeTable, encodeTable, ip, mac, namedBits, u16, u32 } from './codec.ts'
import type { Table } from './codec.ts'
import { AF_INET, AF_INET6, addressBytes, familyNumber } from '../ip.ts'
import type { Family } from '../ip.ts'
import { decodeBody, encode } from './message.ts'
import type { Attribute } from './message.ts'

export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
export const RTM_GETNEIGH = 30
export const AF_BRIDGE = 7
const NDA = { DST: 1, LLADDR: 2, VLAN: 5, PORT: 6, VNI: 7, IFINDEX: 8, MASTER: 9 }
const NTF = { SELF: 2, MASTER: 4 }
const headBytes = 12

export type NeighbourState = 'incomplete' | 'reachable' | 'stale' | 'delay' | 'probe' | 'failed' | 'noArp' | 'permanent'
const states = namedBits<NeighbourState>({
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noArp: 0x40,
  permanent: 0x80,
})

export interface Neighbour {
  /** Of the link. */
  index: number
  address: string
  mac?: string
  state?: NeighbourState
}

/** Where a bridge or a vxlan sends frames to an address. */
export interface ForwardingEntry {
  /** Of the port, or of the vxlan. */
  index: number
  mac: string
  /** Whether the entry is the link's own, as a vxlan's are, and not that of its bridge. */
  self?: boolean
  vlan?: number
  /** Address of the other end of a vxlan. */
  destination?: string
  /** UDP port there, when it is not the vxlan's. */
  port?: number
  /** The id there, when it is not the vxlan's. */
  vni?: number
  /** Default: permanent, never to be forgotten. */
  state?: NeighbourState
}

const neighbours: Table<Pick<Neighbour, 'address' | 'mac'>> = {
  address: [NDA.DST, ip],
  mac: [NDA.LLADDR, mac],
}
const entries: Table<Omit<ForwardingEntry, 'index' | 'self' | 'state'>> = {
  destination: [NDA.DST, ip],
  mac: [NDA.LLADDR, mac],
  vlan: [NDA.VLAN, u16],
  port: [NDA.PORT, be16],
  vni: [NDA.VNI, u32],
}

/** `struct ndmsg` */
function head(family: number, index: number, state?: NeighbourState, flags = 0): Buffer {
  const bytes = Buffer.alloc(headBytes)
  bytes.writeUInt8(family, 0)
  bytes.writeInt32LE(index, 4)
  if (state !== undefined) states.encode({ [state]: true }).copy(bytes, 8, 0, 2)
  bytes.writeUInt8(flags, 10)
  return bytes
}

export function encodeNeighbour({ index, state = 'permanent', ...neighbour }: Neighbour): Buffer {
  const family = addressBytes(neighbour.address).length === 4 ? AF_INET : AF_INET6
  return Buffer.concat([head(family, index, state), encode(encodeTable(neighbours, neighbour))])
}

export function encodeForwarding({ index, self = false, state = 'permanent', ...entry }: ForwardingEntry): Buffer {
  const fixed = head(AF_BRIDGE, index, state, self ? NTF.SELF : NTF.MASTER)
  return Buffer.concat([fixed, encode(encodeTable(entries, entry))])
}

export function encodeNeighbourFilter(family?: Family, index?: number): Buffer {
  const attributes: Attribute[] = index === undefined ? [] : [[NDA.IFINDEX, u32.encode(index)]]
  return Buffer.concat([head(familyNumber(family), 0), encode(attributes)])
}

/** @param port index of a port, or of a vxlan; undefined: all */
export const encodeForwardingFilter = (port = 0): Buffer => head(AF_BRIDGE, port)

function stateOf(data: Buffer): { state?: NeighbourState } {
  const [state] = Object.keys(states.decode(Buffer.from([data.readUInt8(8), 0, 0, 0]))) as NeighbourState[]
  return state === undefined ? {} : { state }
}

export function decodeNeighbour(data: Buffer): Neighbour | undefined {
  const { address, ...more } = decodeTable(neighbours, decodeBody(data, headBytes))
  const isIp = data[0] === AF_INET || data[0] === AF_INET6
  return !isIp || address === undefined ? undefined : { index: data.readInt32LE(4), address, ...more, ...stateOf(data) }
}

export function decodeForwarding(data: Buffer): ForwardingEntry | undefined {
  const { mac: address, ...more } = decodeTable(entries, decodeBody(data, headBytes))
  if (data[0] !== AF_BRIDGE || address === undefined) return undefined
  const isSelf = (data.readUInt8(10) & NTF.SELF) !== 0
  return { index: data.readInt32LE(4), mac: address, ...(isSelf && { self: true }), ...more, ...stateOf(data) }
}
