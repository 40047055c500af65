// CHECK of bridge: what ADD made is still there.
import { openNetlink } from '@nodelet/linux'
import type { Link } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { checkPodLink } from '../../interface/check.ts'
import type { PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult, Host } from '../../types.ts'
import type { BridgeConfig } from './config.ts'

/** @throws CniError naming the first that is not as the result says */
export async function checkBridge(
  call: PluginCall<BridgeConfig> & { prevResult: CniResult },
  host: Host,
): Promise<void> {
  const { config, network } = call
  using outside = openNetlink({ netns: host.netns })
  using inside = openNetlink({ netns: network.netns })
  const bridge = await outside.links.get(config.bridge)
  if (bridge?.kind !== 'bridge') throw wrong(`${config.bridge} is not there, or is no bridge`)
  if (bridge.promiscuous !== config.promiscMode) {
    throw wrong(`promiscuous mode of ${config.bridge} is ${bridge.promiscuous}, not ${config.promiscMode}`)
  }
  // A bridge that is no gateway takes the MAC of another port when ports come and go.
  if (config.isGateway && config.vlan === 0) checkMac(call.prevResult, bridge)
  const { peer } = await checkPodLink('bridge', inside, call, 'veth')
  const port = peer === undefined ? undefined : await outside.links.get(peer)
  if (port?.master !== bridge.index) throw wrong(`the other end of ${network.ifName} is no port of ${config.bridge}`)
  checkMac(call.prevResult, port)
}

/** @throws CniError when it is not that of the result */
function checkMac({ interfaces }: CniResult, { name, mac }: Link): void {
  const known = interfaces.find((one) => one.name === name && !one.sandbox)?.mac
  if (known && known !== mac) throw wrong(`${name} has the MAC ${mac}, not ${known}`)
}

const wrong = (message: string): CniError => new CniError(cniCode.internal, `bridge: ${message}`)
