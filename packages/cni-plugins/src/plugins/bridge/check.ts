// CHECK of bridge: what ADD made is still there.
import { openNetlink } from '@nodelet/linux'
import type { Link, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import type { PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult, Host } from '../../types.ts'
import type { BridgeConfig } from './config.ts'

/** @throws CniError naming the first that is not as the result says */
export async function checkBridge(
  { config, network: { netns, ifName }, prevResult }: PluginCall<BridgeConfig> & { prevResult: CniResult },
  host: Host,
): Promise<void> {
  using outside = openNetlink({ netns: host.netns })
  using inside = openNetlink({ netns })
  const bridge = await outside.links.get(config.bridge)
  if (bridge?.kind !== 'bridge') throw wrong(`${config.bridge} is not there, or is no bridge`)
  const eth = await inside.links.get(ifName)
  if (!eth) throw wrong(`${ifName} is not in ${netns}`)
  const index = prevResult.interfaces.findIndex(({ name, sandbox }) => name === ifName && Boolean(sandbox))
  const mac = prevResult.interfaces[index]?.mac
  if (mac !== undefined && mac !== '' && mac !== eth.mac) throw wrong(`${ifName} has the MAC ${eth.mac}, not ${mac}`)
  const port = eth.peer === undefined ? undefined : await outside.links.get(eth.peer)
  if (port?.master !== bridge.index) throw wrong(`the other end of ${ifName} is no port of ${config.bridge}`)
  const own = prevResult.ips.filter((ip) => ip.interface === undefined || ip.interface === index)
  await checkAddresses(inside, eth, own)
  await checkRoutes(inside, prevResult, own)
}

async function checkAddresses(inside: Netlink, eth: Link, ips: CniResult['ips']): Promise<void> {
  const present = (await inside.addresses.list({ link: eth.index })).map(({ address }) => address)
  const missing = ips.find(({ address }) => !present.includes(address))
  if (missing) throw wrong(`${eth.name} has no address ${missing.address}`)
}

async function checkRoutes(inside: Netlink, { routes }: CniResult, ips: CniResult['ips']): Promise<void> {
  const present = await inside.routes.list()
  for (const { dst, gw } of routes) {
    const gateway = gw ?? ips.find(({ address }) => familyOf(address) === familyOf(dst))?.gateway
    if (present.some((route) => route.destination === dst && route.gateway === gateway)) continue
    throw wrong(`there is no route to ${dst}${gateway === undefined ? '' : ` via ${gateway}`}`)
  }
}

const wrong = (message: string): CniError => new CniError(cniCode.internal, `bridge: ${message}`)
