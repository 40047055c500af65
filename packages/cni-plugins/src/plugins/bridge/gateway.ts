// The bridge as the pods' gateway.
import { isWithin, LinuxError } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familiesOf, familyOf } from '../../families.ts'
import { makeVeth } from '../../interface/veth.ts'
import type { LinkEnd } from '../../interface/veth.ts'
import { firstAddress } from '../../prefix.ts'
import { setSysctl } from '../../sysctl.ts'
import type { CniResult, Host } from '../../types.ts'
import { vlanGateway } from './config.ts'
import type { BridgeConfig } from './config.ts'
import { setVlans } from './vlans.ts'

/** With isGateway the first address of the subnet is the gateway where IPAM names none. */
export function withGateways(leased: CniResult, { isGateway }: BridgeConfig): CniResult {
  if (!isGateway) return leased
  const ips = leased.ips.map((ip) => ({ ...ip, gateway: ip.gateway ?? firstAddress(ip.address) }))
  return { ...leased, ips }
}

/** The link has the gateway's addresses, and this machine forwards. @param link the bridge, or the VLAN's gateway */
export async function makeGateway(
  outside: Netlink,
  host: Host,
  { name, index, mac }: LinkEnd,
  { ips }: CniResult,
  { forceAddress }: BridgeConfig,
): Promise<void> {
  const wanted = ips.flatMap(({ address, gateway }) =>
    gateway === undefined ? [] : [`${gateway}/${address.split('/')[1]}`],
  )
  const present = (await outside.addresses.list({ link: index })).map(({ address }) => address)
  const missing = wanted.filter((address) => !present.includes(address))
  const inTheWay = present.filter((one) => !wanted.includes(one) && missing.some((address) => clashes(one, address)))
  const [first] = inTheWay
  if (first !== undefined && !forceAddress) {
    const address = missing.find((one) => clashes(first, one))
    throw new CniError(cniCode.internal, `"${name}" already has an IP address different from ${address}`, {
      details: `it is ${first}: remove it, set forceAddress or use another bridge`,
    })
  }
  for (const address of inTheWay) await outside.addresses.delete(index, address)
  for (const address of missing) {
    try {
      await outside.addresses.add(index, address)
    } catch (error) {
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error // another pod was quicker
    }
  }
  for (const family of familiesOf(ips) ?? []) {
    setSysctl(host.netns, family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', '1')
  }
  // Set to itself it stays: a bridge that others made would take that of a port.
  if (mac !== undefined) await outside.links.set(index, { mac })
}

/** Of IPv4 a gateway has one address; of IPv6 one in each network. */
function clashes(one: string, other: string): boolean {
  if (familyOf(one) !== familyOf(other)) return false
  const [[first = ''], [second = '']] = [one.split('/'), other.split('/')]
  return familyOf(one) === 4 || isWithin(first, other) || isWithin(second, one)
}

/**
 * The gateway of a VLAN: a link on the machine whose other end is a port in that VLAN. Made unless it is there; may run again.
 */
export async function ensureVlanGateway(
  outside: Netlink,
  host: Host,
  bridge: LinkEnd,
  config: BridgeConfig,
): Promise<LinkEnd> {
  const name = vlanGateway(config)
  if (!(await outside.links.get(name))) {
    try {
      await makeVeth(outside, { netns: host.netns, ifName: name }, { mtu: config.mtu, master: bridge.index })
    } catch (error) {
      if (!(await outside.links.get(name))) throw error // otherwise another pod was quicker
    }
  }
  const link = await outside.links.get(name)
  if (link?.kind !== 'veth' || link.peer === undefined) {
    throw new CniError(cniCode.internal, `${name} already exists but is not the gateway of a VLAN`)
  }
  await setVlans(outside, link.peer, { ...config, vlanTrunk: [] })
  if (!link.up) await outside.links.set(link.index, { up: true })
  return link
}
