// Whether the kernel has what was loaded in IPVS mode, and nothing else.
import type { IpsetChange, Netlink, VirtualServer as KernelServer } from '@nodelet/linux'
import type { IptablesProgram } from '../iptables/program.ts'
import type { IpvsLedger } from '../ipvs/ledger.ts'
import { dummyDevice, type IpvsProgram, type VirtualServer } from '../ipvs/program.ts'
import type { IPFamily } from '../net/address.ts'
import { eachInTurn, inSlices, type Steps } from '../slices.ts'
import type { Iptables } from './iptables-restore.ts'
import { isSameSettings, kernelServer, planSetsInTurn, realKey, serverKey } from './ipvs-plan.ts'
import type { HeldReal, Leaving } from './ipvs-plan.ts'
import { dummyAddresses, isOf, withPrefix } from './ipvs-state.ts'
import { readRealServers, type RealServerTable } from './ipvs-table.ts'
import { ipvsJumps, missingJumps } from './jumps.ts'
import type { SavedTables } from './saved.ts'

/** What was loaded. */
export interface Loaded {
  program: IpvsProgram
  ledger: IpvsLedger
  /** Real servers of a virtual server that are to go. */
  leavingOf(this: void, server: KernelServer): readonly Leaving['server'][]
  /** The rules as they were printed after the load. */
  printed: string
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
 * Whether virtual servers, real servers with their weights, addresses, sets with their entries, chains, rules and jumps are what was
 * loaded.
 */
export async function isWhole(loaded: Loaded, { netlink, iptables, netns }: LookedAt): Promise<boolean> {
  const { program, ledger } = loaded
  const { family, sets } = program
  const { virtualServers, addresses, entries } = ledger.all()
  if (!(await netlink.links.get(dummyDevice))) return false
  const bound = new Set([...addresses].map((address) => withPrefix(address, family)))
  if (bound.symmetricDifference(new Set(await dummyAddresses(netlink, family))).size > 0) return false
  const held = { servers: await netlink.ipvs.list(), realServers: await readRealServers(netns) }
  if (!(await inSlices(hasServersInTurn(virtualServers, held, loaded)))) return false
  const listed = await netlink.ipsets.list()
  const plan = await inSlices(planSetsInTurn(sets, family, entries, listed))
  if (plan.missing.length > 0 || plan.changes.some(isChange)) return false
  let hasGlue = false
  await iptables.update((saved) => {
    hasGlue = hasAll(program.glue, saved) && printedRules(program.glue, saved) === loaded.printed
    return []
  })
  return hasGlue
}

/** Pure. */
export function* hasServersInTurn(
  wanted: Iterable<VirtualServer>,
  held: { servers: readonly KernelServer[]; realServers: RealServerTable },
  { program, leavingOf, isOthers }: Pick<Loaded, 'leavingOf' | 'isOthers'> & { program: { family: IPFamily } },
): Steps<boolean> {
  const left = new Map(held.servers.map((server) => [serverKey(server), server]))
  let isSame = true
  yield* eachInTurn(wanted, (one) => {
    const server = kernelServer(one)
    const key = serverKey(server)
    const present = left.get(key)
    left.delete(key)
    isSame &&= present !== undefined && isSameSettings(present, server)
    isSame &&= hasRealServers(one, held.realServers.get(key) ?? [], leavingOf(server))
  })
  const strays = [...left.values()].filter(isOf(program.family))
  return isSame && strays.every(({ address }) => isOthers(address))
}

/** A real server that is to go may be gone, and has no weight while it is not. */
function hasRealServers(
  { realServers }: VirtualServer,
  held: readonly HeldReal[],
  leaving: readonly Leaving['server'][],
): boolean {
  const weights = new Map(held.map((server) => [realKey(server), server.weight]))
  const going = leaving.map(realKey).filter((key) => weights.has(key))
  const isRight = realServers.every((server) => weights.get(realKey(server)) === server.weight)
  return isRight && going.every((key) => weights.get(key) === 0) && weights.size === realServers.length + going.length
}

const isChange = ({ add = [], delete: gone = [] }: IpsetChange): boolean => add.length + gone.length > 0

/** Rules of the program's chains, as iptables prints them: otherwise than they were written. Pure. */
export const printedRules = ({ tables }: IptablesProgram, saved: SavedTables): string =>
  tables
    .flatMap(({ table, chains }) => {
      const own = new Set(chains)
      return (saved.get(table)?.rules ?? [])
        .filter(({ chain }) => own.has(chain))
        .map(({ chain, text }) => `${chain} ${text}`)
    })
    .join('\n')

/** By the number of rules: their texts are printed otherwise than they were written. Pure. */
export function hasAll({ tables }: IptablesProgram, saved: SavedTables): boolean {
  return tables.every(({ table, chains, rules }) => {
    const present = saved.get(table)
    const wanted = (name: string): number => rules.filter(({ chain }) => chain === name).length
    const isThere = (name: string): boolean => (present?.counts.get(name) ?? 0) === wanted(name)
    return chains.every(isThere) && missingJumps(table, chains, saved, ipvsJumps).length === 0
  })
}
