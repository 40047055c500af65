// What a family has, and who asked for it: two service ports may ask for the same virtual server, address or entry.
import { createClaims, type Change, type ClaimChange } from '../graph/claims.ts'
import { changedParts } from '../graph/parts.ts'
import type { IptablesProgram } from '../iptables/program.ts'
import type { IpvsPart, IpvsProgram, SetEntry, VirtualServer } from './program.ts'
import { entryText } from './sets.ts'

/** What brings the kernel from one program to the next. */
export interface IpvsDifference {
  /** New, gone, with other attributes or other real servers. */
  virtualServers: readonly Change<VirtualServer>[]
  /** Of the dummy device. */
  addresses: Exchange<string>
  entries: Exchange<SetEntry>
  /** Undefined when no rule is another one. */
  glue: IptablesProgram | undefined
}

/** What comes and what goes. */
export interface Exchange<T> {
  added: readonly T[]
  removed: readonly T[]
}

/** Stands for what the kernel has after all differences so far. */
export interface IpvsLedger {
  /** What `next` has otherwise than the program before, or, the first time, than nothing: then it is the whole program. */
  update(next: IpvsProgram): IpvsDifference
}

const nothing: Pick<IpvsPart, 'virtualServers' | 'addresses' | 'entries'> = {
  virtualServers: [],
  addresses: [],
  entries: [],
}

export function createIpvsLedger(): IpvsLedger {
  const virtualServers = createClaims<VirtualServer>(({ protocol, address, port }) => `${protocol} ${address} ${port}`)
  const addresses = createClaims<string>((address) => address)
  const entries = createClaims<SetEntry>((entry) => `${entry.set} ${entryText(entry)}`)
  let current: IpvsProgram | undefined
  return {
    update: (next) => {
      const parts = changedParts(current, next)
      const asked = <T>(of: (part: typeof nothing) => readonly T[]): ClaimChange<T>[] =>
        parts.map(({ key, before = nothing, after = nothing }) => ({ key, before: of(before), after: of(after) }))
      const servers = virtualServers.update(asked((part) => part.virtualServers))
      const difference = {
        virtualServers: servers.filter(({ before, after }) => !isSame(before, after)),
        addresses: exchange(addresses.update(asked((part) => part.addresses))),
        entries: exchange(entries.update(asked((part) => part.entries))),
        glue: isSame(current?.glue, next.glue) ? undefined : next.glue,
      }
      current = next
      return difference
    },
  }
}

const isSame = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b)

function exchange<T>(changes: readonly Change<T>[]): Exchange<T> {
  const ofOnly = (side: 'before' | 'after', other: 'before' | 'after'): T[] =>
    changes.filter((change) => change[other] === undefined).flatMap((change) => change[side] ?? [])
  return { added: ofOnly('after', 'before'), removed: ofOnly('before', 'after') }
}
