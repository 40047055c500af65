// Whether the kernel still has what was loaded in IPVS mode.
import type { Netlink } from '@nodelet/linux'
import type { IptablesProgram } from '../iptables/program.ts'
import { dummyDevice, type IpvsProgram } from '../ipvs/program.ts'
import type { Iptables } from './iptables-restore.ts'
import { kernelServer, serverKey } from './ipvs-plan.ts'
import { dummyAddresses, withPrefix } from './ipvs-state.ts'
import { ipvsJumps, missingJumps } from './jumps.ts'
import type { SavedTables } from './saved.ts'

/** Whether nothing of it is missing. Real servers and entries of sets are not looked at: nobody removes them one by one. */
export async function isWhole(program: IpvsProgram, netlink: Netlink, iptables: Iptables): Promise<boolean> {
  if (!(await netlink.links.get(dummyDevice))) return false
  const { family, services } = program
  const servers = new Set((await netlink.ipvs.list()).map(serverKey))
  const addresses = new Set(await dummyAddresses(netlink, family))
  for (const part of services) {
    if (!part.virtualServers.every((server) => servers.has(serverKey(kernelServer(server))))) return false
    if (!part.addresses.every((address) => addresses.has(withPrefix(address, family)))) return false
  }
  const sets = new Set((await netlink.ipsets.list()).map(({ name }) => name))
  if (!program.sets.every(({ name }) => sets.has(name))) return false
  let hasGlue = false
  await iptables.update((saved) => {
    hasGlue = hasAll(program.glue, saved)
    return []
  })
  return hasGlue
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
