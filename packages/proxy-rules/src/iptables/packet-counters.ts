// Accounting objects of the kernel that rules name, so that it counts the packets that they match.
import type { Rule } from './program.ts'

/** By what they count: dropped packets of no known connection, and connections to node ports on 127.0.0.0/8. */
export const packetCounters = {
  invalidDropped: 'ct_state_invalid_dropped_pkts',
  localhostAccepted: 'localhost_nps_accepted_pkts',
} as const

export type PacketCounter = keyof typeof packetCounters

export const counterNames: readonly string[] = Object.values(packetCounters)

/** What a rule needs to count. */
export const countedBy = (counter: PacketCounter): Rule['args'] => [
  '-m',
  'nfacct',
  '--nfacct-name',
  packetCounters[counter],
]
