// What the test and its threads in the world's namespaces tell each other.

/** One packet, or one exchange: sent from an address and port of its own, so that connection tracking can tell it from others. */
export interface Probe {
  kind: 'tcp' | 'udp' | 'http'
  isIPv6: boolean
  from: string
  sourcePort: number
  to: string
  port: number
  /** Milliseconds after which there will be no answer. */
  patienceMs: number
  /** The socket stays open for a later probe with this name; one that is there is used again. */
  keep?: string
}

/** What a server says: its name, and who asks by what it sees. */
export interface Reply {
  server: string
  peer: string
}

/** The reply, or why there is none. HTTP servers reply with their status. */
export type Answer = Reply | 'refused' | 'silence'

/** A server in a namespace. */
export interface Listener {
  /** Default: whose address it is asked at, with the port; then it answers TCP alone. */
  name?: string
  address: string
  port: number
}

export type Order = { id: number; listen: readonly Listener[] } | { id: number; probes: readonly Probe[] }
export interface Done {
  id: number
  answers: Answer[]
}
