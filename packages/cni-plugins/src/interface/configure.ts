// Addresses and routes of a pod's link.
import type { Netlink, NewRoute } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { familyOf } from '../families.ts'
import { setSysctl } from '../sysctl.ts'
import type { CniResult } from '../types.ts'

export interface PodLink {
  /** Path of its namespace. */
  netns: string
  name: string
  index: number
  /** Its place in the result's interfaces. */
  at: number
}

/** How long it may take until no other machine has claimed an address of IPv6, in milliseconds. */
const settleMs = 5_000

/**
 * Gives the link its addresses, sets it up, then the routes: so the kernel announces the addresses when it comes up.
 *
 * @param inside opened in the link's namespace
 * @throws CniError for an address of another interface, or one that is taken; LinuxError
 */
export async function configure(inside: Netlink, link: PodLink, result: CniResult, signal: AbortSignal): Promise<void> {
  const { netns, name, index, at } = link
  const { routes } = result
  const ips = result.ips.filter((ip) => {
    if (ip.interface === undefined || ip.interface === at) return ip.interface === at
    throw new CniError(cniCode.internal, `failed to add IP addr ${ip.address} to ${name}: invalid interface index`)
  })
  if (ips.some(({ address }) => familyOf(address) === 6)) {
    for (const one of ['lo', name]) setSysctl(netns, `net/ipv6/conf/${one}/disable_ipv6`, '0')
    setSysctl(netns, `net/ipv6/conf/${name}/keep_addr_on_down`, '1')
  }
  for (const { address } of ips) await inside.addresses.add(index, address)
  await inside.links.set(index, { up: true })
  const gateways = firstGateways(ips)
  if (gateways[6] !== undefined) await settled(inside, link, signal)
  for (const route of routes) await inside.routes.add(routeOf(route, index, gateways), 'append')
}

type Gateways = Partial<Record<4 | 6, string>>

/** Routes without a gateway of their own go by the first of their family. */
export function firstGateways(ips: CniResult['ips']): Gateways {
  const first = (family: 4 | 6): string | undefined =>
    ips.find(({ address, gateway }) => gateway !== undefined && familyOf(address) === family)?.gateway
  const [four, six] = [first(4), first(6)]
  return { ...(four !== undefined && { 4: four }), ...(six !== undefined && { 6: six }) }
}

function routeOf(
  { dst, gw, mtu, advmss, priority, table, scope }: CniResult['routes'][number],
  link: number,
  gateways: Gateways,
): NewRoute {
  const gateway = gw ?? gateways[familyOf(dst)]
  return {
    destination: dst,
    link,
    ...(gateway !== undefined && { gateway }),
    ...(mtu && { mtu }),
    ...(advmss && { advMss: advmss }),
    ...(priority && { metric: priority }),
    ...(table !== undefined && { table }),
    ...(scope !== undefined && { scope }),
  }
}

/** @throws CniError for an address that another machine has, or that is not known to be free on a link that works */
async function settled(inside: Netlink, { name, index }: PodLink, signal: AbortSignal): Promise<void> {
  let addresses = await inside.addresses.list({ link: index, family: 6 })
  if (addresses.some(({ flags }) => flags.tentative)) {
    try {
      addresses = await inside.addresses.untilSettled(index, AbortSignal.any([signal, AbortSignal.timeout(settleMs)]))
    } catch (cause) {
      signal.throwIfAborted()
      if (!(await inside.links.get(index))?.operational) return
      throw new CniError(cniCode.internal, `${name} still has tentative addresses after ${settleMs / 1_000} s`, {
        cause,
      })
    }
  }
  const taken = addresses.find(({ flags }) => flags.dadFailed)
  if (taken) throw new CniError(cniCode.internal, `${name}: ${taken.address} is in use by another machine`)
}
