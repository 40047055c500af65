// Settings of a link as a port of a bridge. Pure. @see bridge(8)
import { decodeTable, encodeTable, flag, names, u16, u32, u8 } from './codec.ts'
import type { Table } from './codec.ts'
import type { Attribute } from './message.ts'

export interface BridgePort {
  /** Of the spanning tree protocol; read by `get` and `list`, set by the bridge. */
  state?: 'disabled' | 'listening' | 'learning' | 'forwarding' | 'blocking'
  priority?: number
  cost?: number
  /** Whether frames may go back out of the port that they came in by. */
  hairpin?: boolean
  /** Whether BPDUs that come in shut the port. */
  bpduGuard?: boolean
  rootBlock?: boolean
  /** Whether a multicast group is left at once. */
  fastLeave?: boolean
  /** Whether the bridge learns addresses behind it. */
  learning?: boolean
  /** Whether frames to unknown addresses go out of it. */
  unicastFlood?: boolean
  multicastFlood?: boolean
  broadcastFlood?: boolean
  multicastToUnicast?: boolean
  proxyArp?: boolean
  /** Whether the bridge answers for neighbours that it knows. */
  neighbourSuppress?: boolean
  /** Isolated ports reach only ports that are not. */
  isolated?: boolean
}

const table: Table<BridgePort> = {
  state: [1, names(u8, { disabled: 0, listening: 1, learning: 2, forwarding: 3, blocking: 4 })], // IFLA_BRPORT_STATE
  priority: [2, u16], // IFLA_BRPORT_PRIORITY
  cost: [3, u32], // IFLA_BRPORT_COST
  hairpin: [4, flag], // IFLA_BRPORT_MODE
  bpduGuard: [5, flag], // IFLA_BRPORT_GUARD
  rootBlock: [6, flag], // IFLA_BRPORT_PROTECT
  fastLeave: [7, flag], // IFLA_BRPORT_FAST_LEAVE
  learning: [8, flag], // IFLA_BRPORT_LEARNING
  unicastFlood: [9, flag], // IFLA_BRPORT_UNICAST_FLOOD
  proxyArp: [10, flag], // IFLA_BRPORT_PROXYARP
  multicastFlood: [27, flag], // IFLA_BRPORT_MCAST_FLOOD
  multicastToUnicast: [28, flag], // IFLA_BRPORT_MCAST_TO_UCAST
  broadcastFlood: [30, flag], // IFLA_BRPORT_BCAST_FLOOD
  neighbourSuppress: [32, flag], // IFLA_BRPORT_NEIGH_SUPPRESS
  isolated: [33, flag], // IFLA_BRPORT_ISOLATED
}

export const encodePort = (port: BridgePort): Attribute[] => encodeTable(table, port)
export const decodePort = (attributes: ReadonlyMap<number, Buffer>): BridgePort => decodeTable(table, attributes)
