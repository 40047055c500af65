// CHECK of a pod's link: what ADD made is still there.
import type { Link, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { familyOf } from '../families.ts'
import type { PluginCall } from '../sdk/define-plugin.ts'
import type { CniResult } from '../types.ts'
import { firstGateways } from './configure.ts'

/**
 * @param plugin whose words they are. @param kind what the link must be; absent: anything
 * @returns the pod's link
 * @throws CniError naming the first thing that is not as the result says
 */
export async function checkPodLink(
  plugin: string,
  inside: Netlink,
  { network: { netns, ifName }, prevResult }: PluginCall<unknown> & { prevResult: CniResult },
  kind?: string,
): Promise<Link> {
  const wrong = (message: string): CniError => new CniError(cniCode.internal, `${plugin}: ${message}`)
  const link = await inside.links.get(ifName)
  if (!link) throw wrong(`${ifName} is not in ${netns}`)
  if (kind !== undefined && link.kind !== kind) throw wrong(`${ifName} is not of kind ${kind} but ${link.kind}`)
  const at = prevResult.interfaces.findIndex(({ name, sandbox }) => name === ifName && Boolean(sandbox))
  const mac = prevResult.interfaces[at]?.mac
  if (mac && mac !== link.mac) throw wrong(`${ifName} has the MAC ${link.mac}, not ${mac}`)
  const own = prevResult.ips.filter((ip) => ip.interface === undefined || ip.interface === at)
  const present = (await inside.addresses.list({ link: link.index })).map(({ address }) => address)
  const missing = own.find(({ address }) => !present.includes(address))
  if (missing) throw wrong(`${ifName} has no address ${missing.address}`)
  await checkRoutes(inside, prevResult, own, wrong)
  return link
}

async function checkRoutes(
  inside: Netlink,
  { routes }: CniResult,
  ips: CniResult['ips'],
  wrong: (message: string) => CniError,
): Promise<void> {
  const gateways = firstGateways(ips)
  for (const { dst, gw, table } of routes) {
    const gateway = gw ?? gateways[familyOf(dst)]
    const present = await inside.routes.list(table === undefined ? {} : { table })
    const hopsOf = (route: (typeof present)[number]): (string | undefined)[] =>
      route.nextHops ? route.nextHops.map((hop) => hop.gateway) : [route.gateway]
    if (present.some((route) => route.destination === dst && hopsOf(route).includes(gateway))) continue
    throw wrong(`there is no route to ${dst}${gateway === undefined ? '' : ` via ${gateway}`}`)
  }
}
