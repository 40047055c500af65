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

/** A virtual server as the kernel has it. */
export interface HeldServer {
  server: KernelServer
  realServers: readonly (RealServerKey & Pick<RealServer, 'weight'>)[]
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

const settingsText = ({
  scheduler,
  persistent,
  onePacket,
  fallback,
  sourcePort,
  schedulerFlag3,
}: KernelServer): string =>
  JSON.stringify([
    scheduler,
    persistent?.seconds,
    persistent?.prefixLength,
    onePacket,
    fallback,
    sourcePort,
    schedulerFlag3,
  ])

/** Whether they differ in nothing but their key. */
export const isSameSettings = (a: KernelServer, b: KernelServer): boolean => settingsText(a) === settingsText(b)

/** For each virtual server what is held and what is wanted of it. */
export function planServers(
  pairs: readonly (readonly [held: HeldServer | undefined, wanted: VirtualServer | undefined])[],
): ServerPlan {
  const plan: ServerPlan = { additions: [], deletions: [], leaving: [], staying: [] }
  for (const [held, wanted] of pairs) {
    if (wanted) planServer(plan, held, wanted)
    else if (held) plan.deletions.push({ kind: 'deleteVirtualServer', server: held.server })
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
 * From the sets that are there to exactly these entries.
 *
 * @throws Error for a set of the name that is of another type
 */
export function planSets(
  sets: readonly IpSet[],
  family: IPFamily,
  entries: readonly SetEntry[],
  listed: readonly ListedIpset[],
): SetPlan {
  const wanted = entryTexts(entries)
  const plan: SetPlan = { missing: [], changes: [] }
  for (const one of sets) {
    const set = kernelSet(one, family)
    const present = listed.find(({ name }) => name === set.name)
    if (!present) plan.missing.push(set)
    else if (present.type !== set.type || present.family !== set.family)
      throw new Error(`the set ${set.name} is a ${present.type} for IPv${present.family}: destroy it`)
    const texts = new Set(wanted.get(set.name)?.map((text) => canonicalEntry(set.type, text)))
    const held = new Set(present?.entries)
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
  const [comes, goes] = [entryTexts(added), entryTexts(removed)]
  return sets
    .filter(({ name }) => comes.has(name) || goes.has(name))
    .map((one) => {
      return { set: kernelSet(one, family), add: comes.get(one.name) ?? [], delete: goes.get(one.name) ?? [] }
    })
}

function entryTexts(entries: readonly SetEntry[]): Map<string, string[]> {
  const texts = new Map<string, string[]>()
  for (const entry of entries) {
    const known = texts.get(entry.set)
    if (known) known.push(entryText(entry))
    else texts.set(entry.set, [entryText(entry)])
  }
  return texts
}
