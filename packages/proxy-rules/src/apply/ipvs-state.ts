// What one family has in the kernel of IPVS mode, and the device that holds its addresses.
import { addressFamily, LinuxError, type Netlink } from '@nodelet/linux'
import { dummyDevice } from '../ipvs/program.ts'
import type { IPFamily } from '../net/address.ts'
import { serverKey, type HeldServer } from './ipvs-plan.ts'
import { readRealServers } from './ipvs-table.ts'

const number = { IPv4: 4, IPv6: 6 } as const
const hostBits = { IPv4: 32, IPv6: 128 } as const

export const withPrefix = (address: string, family: IPFamily): string => `${address}/${hostBits[family]}`

/** Makes the device, which stays down. @throws LinuxError when the kernel has no dummy devices */
export async function ensureDummy({ links }: Netlink): Promise<void> {
  if (await links.get(dummyDevice)) return
  try {
    await links.add({ kind: 'dummy', name: dummyDevice })
  } catch (error) {
    // The other family's turn may come in between.
    if (error instanceof LinuxError && error.code === 'EEXIST') return
    throw error
  }
}

/** With their prefixes, but for link-local ones of IPv6, which the kernel makes; none without the device. */
export async function dummyAddresses({ links, addresses }: Netlink, family: IPFamily): Promise<string[]> {
  if (!(await links.get(dummyDevice))) return []
  const found = await addresses.list({ link: dummyDevice, family: number[family] }).catch((error: unknown) => {
    // The other family may have removed it in between.
    if (error instanceof LinuxError && error.code === 'ENODEV') return []
    throw error
  })
  return found.filter(({ scope }) => scope !== 'link').map(({ address }) => address)
}

export const isOf =
  (family: IPFamily) =>
  ({ address }: { address: string }): boolean =>
    addressFamily(address) === number[family]

/** All virtual servers of the family, with their real servers. */
export async function heldServers(
  { ipvs }: Netlink,
  family: IPFamily,
  netns: string | undefined,
): Promise<HeldServer[]> {
  const servers = (await ipvs.list()).filter(isOf(family))
  const table = await readRealServers(netns)
  return servers.map((server) => ({ server, realServers: table.get(serverKey(server)) ?? [] }))
}
