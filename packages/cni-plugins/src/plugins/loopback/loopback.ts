// loopback: brings up lo.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../../sdk/define-plugin.ts'

export const loopback: DefinedPlugin = definePlugin({
  name: 'loopback',
  config: () => ({}),
  async add({ network: { netns }, cniVersion, prevResult }) {
    using netlink = openNetlink({ netns })
    await netlink.links.set('lo', { up: true })
    if (prevResult) return prevResult
    return {
      cniVersion,
      interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: netns }],
      ips: [
        { address: '127.0.0.1/8', interface: 0 },
        { address: '::1/128', interface: 0 },
      ],
      routes: [],
      dns: {},
    }
  },
  async del({ network: { netns } }) {
    if (!isNamespacePinned(netns)) return
    using netlink = openNetlink({ netns })
    await netlink.links.set('lo', { up: false })
  },
  async check({ network: { netns } }) {
    using netlink = openNetlink({ netns })
    const lo = await netlink.links.get('lo')
    if (!lo?.up) throw new CniError(cniCode.internal, `loopback: lo of ${netns} is down`)
  },
})
