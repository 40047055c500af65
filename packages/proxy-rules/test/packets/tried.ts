// What is tried of a row, and what becomes of it.
import type { IPFamily, Outcome, Protocol } from '@nodelet/proxy-rules'
import type { Answer, Probe } from './messages.ts'
import type { Room } from './places.ts'
import type { PacketRow, Row } from './row.ts'

/** What became of one packet. */
export interface Seen {
  source: string
  answer: Answer
  /** What connection tracking says; undefined where it cannot tell. */
  kernel: Outcome | undefined
  /** Who answered this sender, or on this socket, in an earlier step. */
  before: string | undefined
}

/** A line of a row. */
export interface Line {
  packet: PacketRow
}

/** All packets that a line means in one family and protocol. */
export interface Tried {
  line: Line
  family: IPFamily
  protocol: Protocol
  seen: Seen[]
  /** What the tracer says that can become of it; undefined where it was not asked. */
  traced: Outcome[] | undefined
}

/** Row → what became of its packets, or why they could not be sent. */
export type Results = Map<Row, Tried[] | Error>

/** One packet of a line, on its way. */
export interface Sent {
  tried: Tried
  probe: Probe & { room: Room }
  memoryKey: string
  /** Its connection was there before this step. */
  isKnown: boolean
  /** Others of its sender wait for its answer. */
  isFirst: boolean
}
