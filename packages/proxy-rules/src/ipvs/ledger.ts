// What a family has, and who asked for it: two service ports may ask for the same virtual server, address or entry.
import { createClaims, type Change, type ClaimChange } from '../graph/claims.ts'
import { changedPartsInTurn } from '../graph/parts.ts'
import type { IptablesProgram } from '../iptables/program.ts'
import { finish, type Steps } from '../slices.ts'
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
  /** The same, to be done in slices. One that is not done to its end leaves the ledger useless. */
  updateInTurn(next: IpvsProgram): Steps<IpvsDifference>
  /** All that the kernel has after the differences so far. */
  all(): { virtualServers: Iterable<VirtualServer>; addresses: Iterable<string>; entries: Iterable<SetEntry> }
}

const nothing: Pick<IpvsPart, 'virtualServers' | 'addresses' | 'entries'> = {
  virtualServers: [],
  addresses: [],
  entries: [],
}

/** A ledger of a kernel that has nothing yet. */
export function createIpvsLedger(): IpvsLedger {
  const virtualServers = createClaims<VirtualServer>(({ protocol, address, port }) => `${protocol} ${address} ${port}`)
  const addresses = createClaims<string>((address) => address)
  const entries = createClaims<SetEntry>((entry) => `${entry.set} ${entryText(entry)}`)
  let current: IpvsProgram | undefined
  function* updateInTurn(next: IpvsProgram): Steps<IpvsDifference> {
    const parts = yield* changedPartsInTurn(current, next)
    const asked = <T>(of: (part: typeof nothing) => readonly T[]): ClaimChange<T>[] =>
      parts.map(({ key, before = nothing, after = nothing }) => ({ key, before: of(before), after: of(after) }))
    const servers = yield* virtualServers.updateInTurn(asked((part) => part.virtualServers))
    const difference = {
      virtualServers: servers.filter(({ before, after }) => !isSame(before, after)),
      addresses: exchange(yield* addresses.updateInTurn(asked((part) => part.addresses))),
      entries: exchange(yield* entries.updateInTurn(asked((part) => part.entries))),
      glue: isSame(current?.glue, next.glue) ? undefined : next.glue,
    }
    current = next
    return difference
  }
  return {
    update: (next) => finish(updateInTurn(next)),
    updateInTurn,
    all: () => ({ virtualServers: virtualServers.all(), addresses: addresses.all(), entries: entries.all() }),
  }
}

const isSame = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b)

function exchange<T>(changes: readonly Change<T>[]): Exchange<T> {
  const ofOnly = (side: 'before' | 'after', other: 'before' | 'after'): T[] =>
    changes.filter((change) => change[other] === undefined).flatMap((change) => change[side] ?? [])
  return { added: ofOnly('after', 'before'), removed: ofOnly('before', 'after') }
}
