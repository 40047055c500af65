// Takes everything of IPVS mode of one family out of the kernel.
import type { Netlink } from '@nodelet/linux'
import { dummyDevice } from '../ipvs/program.ts'
import { ipSets } from '../ipvs/sets.ts'
import type { IPFamily } from '../net/address.ts'
import { changeServers } from './ipvs-termination.ts'
import { dummyAddresses, isOf } from './ipvs-state.ts'

const families: readonly IPFamily[] = ['IPv4', 'IPv6']

/**
 * Removes virtual servers, sets and addresses of a family, and the device with the last address. The rules of iptables that look
 * into the sets have to be gone. Safe to run again.
 *
 * @param isOthers virtual servers of which addresses stay
 * @throws LinuxError IPSET_ERR_BUSY while a rule looks into a set
 */
export async function removeIpvsOf(
  family: IPFamily,
  netlink: Netlink,
  isOthers: (address: string) => boolean = () => false,
): Promise<void> {
  const { ipvs, ipsets, addresses, links } = netlink
  if (await ipvs.version()) {
    const own = (await ipvs.list()).filter(isOf(family)).filter(({ address }) => !isOthers(address))
    await changeServers(
      ipvs,
      own.map((server) => ({ kind: 'deleteVirtualServer', server })),
    )
  }
  for (const { name } of ipSets(family)) await ipsets.destroy(name)
  const present = await dummyAddresses(netlink, family)
  if (present.length > 0) await addresses.change(dummyDevice, { delete: present })
  const rest = await Promise.all(families.map((one) => dummyAddresses(netlink, one)))
  if (rest.flat().length === 0) await links.delete(dummyDevice)
}
