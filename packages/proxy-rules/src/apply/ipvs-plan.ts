// What brings the kernel's virtual servers, addresses and sets from what they are to what a program says. Pure.
import { canonicalEntry } from '@nodelet/linux'
import type {
  IpsetChange,
  IpvsChange,
  Ipset,
  ListedIpset,
  NewRealServer,
  RealServer,
  RealServerKey,
  VirtualServer as KernelServer,
  VirtualServerKey,
} from '@nodelet/linux'
import type { IpvsDifference } from '../ipvs/ledger.ts'
import { virtualServerFlags, type IpSet, type SetEntry, type VirtualServer } from '../ipvs/program.ts'
import { entryText } from '../ipvs/sets.ts'
import type { IPFamily } from '../net/address.ts'
import { eachInTurn, finish, type Steps } from '../slices.ts'

/** A real server as the kernel has it. */
export type HeldReal = RealServerKey & Pick<RealServer, 'weight'>

/** A virtual server as the kernel has it. */
export interface HeldServer {
  server: KernelServer
  realServers: readonly HeldReal[]
}

/** A real server that gets no new connections and is to go. */
export interface Leaving {
  of: VirtualServerKey
  server: RealServerKey
}

/** In the order in which it is done. */
export interface ServerPlan {
  additions: IpvsChange[]
  deletions: IpvsChange[]
  leaving: Leaving[]
  /** Real servers that serve: none of them is leaving any more. */
  staying: Leaving[]
}

export const serverKey = ({ protocol, address, port }: VirtualServerKey): string => `${protocol} ${address} ${port}`
export const realKey = ({ address, port }: RealServerKey): string => `${address} ${port}`

/** As the kernel names what the program says. */
export function kernelServer({
  protocol,
  address,
  port,
  scheduler,
  flags,
  timeoutSeconds,
}: VirtualServer): KernelServer {
  const prefixLength = address.includes(':') ? 128 : 32
  const isPersistent = (flags & virtualServerFlags.persistent) !== 0
  return {
    protocol: protocol.toLowerCase() as KernelServer['protocol'],
    address,
    port,
    scheduler,
    ...(isPersistent && { persistent: { seconds: timeoutSeconds, prefixLength } }),
    ...((flags & virtualServerFlags.sourcePort) !== 0 && { sourcePort: true }),
  }
}

/** Whether they differ in nothing but their key. */
export const isSameSettings = (a: KernelServer, b: KernelServer): boolean =>
  a.scheduler === b.scheduler &&
  a.persistent?.seconds === b.persistent?.seconds &&
  a.persistent?.prefixLength === b.persistent?.prefixLength &&
  (['onePacket', 'fallback', 'sourcePort', 'schedulerFlag3'] as const).every((flag) => a[flag] === b[flag])

/** What is held and what is wanted of a virtual server. */
export type ServerPair = readonly [held: HeldServer | undefined, wanted: VirtualServer | undefined]

/** To be done in slices. */
export function* planServersInTurn(pairs: Iterable<ServerPair>): Steps<ServerPlan> {
  const plan: ServerPlan = { additions: [], deletions: [], leaving: [], staying: [] }
  for (const [held, wanted] of pairs) {
    if (wanted) planServer(plan, held, wanted)
    else if (held) plan.deletions.push({ kind: 'deleteVirtualServer', server: held.server })
    yield
  }
  return plan
}

function planServer({ additions, leaving, staying }: ServerPlan, held: HeldServer | undefined, wanted: VirtualServer) {
  const of = kernelServer(wanted)
  if (!held) additions.push({ kind: 'addVirtualServer', server: of })
  else if (!isSameSettings(held.server, of)) additions.push({ kind: 'setVirtualServer', server: of })
  const present = new Map(held?.realServers.map((server) => [realKey(server), server]))
  for (const { address, port, weight } of wanted.realServers) {
    const server: NewRealServer = { address, port, weight }
    const before = present.get(realKey(server))
    present.delete(realKey(server))
    if (!before) additions.push({ kind: 'addRealServer', of, server })
    else if (before.weight !== weight) additions.push({ kind: 'setRealServer', of, server })
    staying.push({ of, server })
  }
  for (const server of present.values()) leaving.push({ of, server: { address: server.address, port: server.port } })
}

export const kernelSet = ({ name, type }: IpSet, family: IPFamily): Ipset => ({
  name,
  type,
  ...(type !== 'bitmap:port' && { family: family === 'IPv4' ? 4 : 6 }),
})

export interface SetPlan {
  missing: Ipset[]
  changes: IpsetChange[]
}

/**
 * From the sets that are there to exactly these entries. To be done in slices.
 *
 * @throws Error for a set of the name that is of another type
 */
export function* planSetsInTurn(
  sets: readonly IpSet[],
  family: IPFamily,
  entries: Iterable<SetEntry>,
  listed: readonly ListedIpset[],
): Steps<SetPlan> {
  const wanted = yield* entryTextsInTurn(entries)
  const plan: SetPlan = { missing: [], changes: [] }
  for (const one of sets) {
    const set = kernelSet(one, family)
    const present = listed.find(({ name }) => name === set.name)
    if (!present) plan.missing.push(set)
    else if (present.type !== set.type || present.family !== set.family)
      throw new Error(`the set ${set.name} is a ${present.type} for IPv${present.family}: destroy it`)
    const texts = new Set<string>()
    // Ranges are read back without what their length leaves out.
    const isRange = set.type === 'hash:ip,port,net'
    yield* eachInTurn(
      wanted.get(set.name) ?? [],
      (text) => void texts.add(isRange ? canonicalEntry(set.type, text) : text),
    )
    const held = new Set(present?.entries)
    yield
    plan.changes.push({ set, add: [...texts.difference(held)], delete: [...held.difference(texts)] })
  }
  return plan
}

/** The entries that differ, by set. */
export function setChanges(
  sets: readonly IpSet[],
  family: IPFamily,
  { added, removed }: IpvsDifference['entries'],
): IpsetChange[] {
  const [comes, goes] = [finish(entryTextsInTurn(added)), finish(entryTextsInTurn(removed))]
  return sets
    .filter(({ name }) => comes.has(name) || goes.has(name))
    .map((one) => {
      return { set: kernelSet(one, family), add: comes.get(one.name) ?? [], delete: goes.get(one.name) ?? [] }
    })
}

function* entryTextsInTurn(entries: Iterable<SetEntry>): Steps<Map<string, string[]>> {
  const texts = new Map<string, string[]>()
  yield* eachInTurn(entries, (entry) => {
    const known = texts.get(entry.set)
    if (known) known.push(entryText(entry))
    else texts.set(entry.set, [entryText(entry)])
  })
  return texts
}
