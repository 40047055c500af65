// Whether the kernel has what was loaded in IPVS mode, and nothing else.
import { addressFamily, type ListedIpset, type Netlink, type VirtualServer as KernelServer } from '@nodelet/linux'
import type { IptablesProgram } from '../iptables/program.ts'
import type { IpvsLedger } from '../ipvs/ledger.ts'
import { dummyDevice, type IpvsProgram, type VirtualServer } from '../ipvs/program.ts'
import type { IPFamily } from '../net/address.ts'
import { eachInTurn, inSlices, type Steps } from '../slices.ts'
import type { Iptables } from './iptables-restore.ts'
import { isSameSettings, kernelServer, planSets, realKey, serverKey, type Leaving } from './ipvs-plan.ts'
import { dummyAddresses, withPrefix } from './ipvs-state.ts'
import { readWeights, type WeightTable } from './ipvs-table.ts'
import { ipvsJumps, missingJumps } from './jumps.ts'
import type { SavedTables } from './saved.ts'

/** What was loaded. */
export interface Loaded {
  program: IpvsProgram
  ledger: IpvsLedger
  /** Real servers of a virtual server that are to go. */
  leavingOf(this: void, server: KernelServer): readonly Leaving['server'][]
  /** Whether virtual servers of an address are somebody else's. */
  isOthers(this: void, address: string): boolean
}

/** Where it is. */
export interface LookedAt {
  netlink: Netlink
  iptables: Iptables
  netns: string | undefined
}

/**
 * Whether virtual servers, real servers with their weights, addresses, sets with their entries, chains and jumps are what was loaded.
 * Of rules only their number is looked at: they are printed otherwise than they were written.
 */
export async function isWhole(loaded: Loaded, { netlink, iptables, netns }: LookedAt): Promise<boolean> {
  const { program, ledger } = loaded
  const { family, sets } = program
  const { virtualServers, addresses, entries } = ledger.all()
  if (!(await netlink.links.get(dummyDevice))) return false
  const bound = new Set([...addresses].map((address) => withPrefix(address, family)))
  if (bound.symmetricDifference(new Set(await dummyAddresses(netlink, family))).size > 0) return false
  const held = { servers: await netlink.ipvs.list(), weights: await readWeights(netns) }
  if (!(await inSlices(hasServersInTurn([...virtualServers], held, loaded)))) return false
  if (!hasSets(sets, { family, entries: [...entries] }, await netlink.ipsets.list())) return false
  let hasGlue = false
  await iptables.update((saved) => {
    hasGlue = hasAll(program.glue, saved)
    return []
  })
  return hasGlue
}

/** Pure. */
export function* hasServersInTurn(
  wanted: readonly VirtualServer[],
  held: { servers: readonly KernelServer[]; weights: WeightTable },
  { program, leavingOf, isOthers }: Pick<Loaded, 'leavingOf' | 'isOthers'> & { program: { family: IPFamily } },
): Steps<boolean> {
  const family = program.family === 'IPv4' ? 4 : 6
  const left = new Map(held.servers.map((server) => [serverKey(server), server]))
  let isSame = true
  yield* eachInTurn(wanted, (one) => {
    const server = kernelServer(one)
    const key = serverKey(server)
    const present = left.get(key)
    left.delete(key)
    isSame &&= present !== undefined && isSameSettings(present, server)
    isSame &&= hasWeights(one, held.weights.get(key) ?? new Map(), leavingOf(server))
  })
  const strays = [...left.values()].filter(({ address }) => addressFamily(address) === family && !isOthers(address))
  return isSame && strays.length === 0
}

/** A real server that is to go may be gone, and has no weight while it is not. */
function hasWeights(
  { realServers }: VirtualServer,
  held: ReadonlyMap<string, number>,
  leaving: readonly Leaving['server'][],
): boolean {
  const going = leaving.map(realKey).filter((key) => held.has(key))
  const isRight = realServers.every((server) => held.get(realKey(server)) === server.weight)
  return isRight && going.every((key) => held.get(key) === 0) && held.size === realServers.length + going.length
}

function hasSets(
  sets: IpvsProgram['sets'],
  { family, entries }: { family: IPFamily; entries: Parameters<typeof planSets>[2] },
  listed: readonly ListedIpset[],
): boolean {
  const { missing, changes } = planSets(sets, family, entries, listed)
  return missing.length === 0 && changes.every(({ add = [], delete: gone = [] }) => add.length + gone.length === 0)
}

/** By the number of rules: their texts are printed otherwise than they were written. Pure. */
export function hasAll({ tables }: IptablesProgram, saved: SavedTables): boolean {
  return tables.every(({ table, chains, rules }) => {
    const present = saved.get(table)
    const wanted = (name: string): number => rules.filter(({ chain }) => chain === name).length
    const isThere = (name: string): boolean => (present?.counts.get(name) ?? 0) === wanted(name)
    return chains.every(isThere) && missingJumps(table, chains, saved, ipvsJumps).length === 0
  })
}
