// What a family has, and who asked for it: two service ports may ask for the same virtual server, address or entry.
import type { IptablesProgram } from '../iptables/program.ts'
import type { IpvsProgram, SetEntry, VirtualServer } from './program.ts'

/** What one thing was, and what it is. */
export interface Change<T> {
  /** Undefined when it is new. */
  before: T | undefined
  /** Undefined when it is gone. */
  after: T | undefined
}

/** What brings the kernel from one program to the next. */
export interface IpvsDifference {
  /** New, gone, with other attributes or other real servers. */
  virtualServers: readonly Change<VirtualServer>[]
  /** Of the dummy device. */
  addresses: { added: readonly string[]; removed: readonly string[] }
  entries: { added: readonly SetEntry[]; removed: readonly SetEntry[] }
  /** Undefined when no rule is another one. */
  glue: IptablesProgram | undefined
}

/** Stands for what the kernel has after all differences so far. */
export interface IpvsLedger {
  /** What `next` has otherwise than the program before, or, the first time, than nothing: then it is the whole program. */
  update(next: IpvsProgram): IpvsDifference
}
