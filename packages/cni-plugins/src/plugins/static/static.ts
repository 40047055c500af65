// static: addresses that are written in the configuration. It keeps nothing.
import { CniError, cniCode } from '../../errors.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../../sdk/define-plugin.ts'
import { addressesOf, isSame, parseStatic } from './config.ts'

/** `static` is a reserved word. */
export const staticIpam: DefinedPlugin = definePlugin({
  name: 'static',
  args: ['IP', 'GATEWAY'],
  config: parseStatic,
  async add({ config, cniVersion, network }) {
    const { routes, dns } = config
    return { cniVersion, interfaces: [], ips: addressesOf(config, network.args, cniVersion), routes, dns }
  },
  async del() {}, // nothing is kept
  async check({ config, cniVersion, network, prevResult }) {
    const plain = ({ address }: { address: string }): string => address.split('/')[0] ?? ''
    for (const one of addressesOf(config, network.args, cniVersion)) {
      const { gateway } = one
      const isAsGiven = prevResult.ips.some(
        (ip) =>
          isSame(plain(ip), plain(one)) &&
          (gateway === undefined || (ip.gateway !== undefined && isSame(ip.gateway, gateway))),
      )
      if (isAsGiven) continue
      throw new CniError(cniCode.internal, `static: Failed to match addr ${plain(one)} on interface ${network.ifName}`)
    }
  },
})
