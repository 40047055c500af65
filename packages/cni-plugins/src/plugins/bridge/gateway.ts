// The bridge as the pods' gateway.
import { addressText, LinuxError, parsePrefix } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import type { LinkEnd } from '../../interface/veth.ts'
import { setSysctl } from '../../sysctl.ts'
import type { CniResult, Host } from '../../types.ts'
import type { BridgeConfig } from './config.ts'

/** With isGateway the first address of the subnet is the gateway where IPAM names none. */
export function withGateways(leased: CniResult, { isGateway }: BridgeConfig): CniResult {
  if (!isGateway) return leased
  const ips = leased.ips.map((ip) => ({ ...ip, gateway: ip.gateway ?? firstAddress(ip.address) }))
  return { ...leased, ips }
}

/** The bridge has the gateway's addresses, and this machine forwards. */
export async function makeGateway(
  outside: Netlink,
  host: Host,
  { name, index, mac }: LinkEnd,
  { ips }: CniResult,
): Promise<void> {
  const present = (await outside.addresses.list({ link: index })).map(({ address }) => address)
  for (const { address, gateway } of ips) {
    if (gateway === undefined) continue
    const wanted = `${gateway}/${address.split('/')[1]}`
    const isV4 = familyOf(wanted) === 4
    setSysctl(host.netns, isV4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', '1')
    if (present.includes(wanted)) continue
    const other = present.find((one) => familyOf(one) === 4)
    if (isV4 && other !== undefined) {
      throw new CniError(cniCode.internal, `"${name}" already has an IP address different from ${wanted}`, {
        details: `it is ${other}: remove it or use another bridge`,
      })
    }
    try {
      await outside.addresses.add(index, wanted)
    } catch (error) {
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error // another pod was quicker
    }
  }
  // Set to itself it stays, instead of following that of the newest port.
  if (mac !== undefined) await outside.links.set(index, { mac })
}

function firstAddress(prefix: string): string {
  const { bytes, length } = parsePrefix(prefix)
  const bits = bytes.length * 8
  const host = (1n << BigInt(bits - length)) - 1n
  const first = (BigInt(`0x${bytes.toString('hex')}`) & ~host) | 1n
  return addressText(Buffer.from(first.toString(16).padStart(bits / 4, '0'), 'hex'))
}
