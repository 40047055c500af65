// loopback: brings up lo.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { Plugin } from '../../types.ts'

export const loopback: Plugin = {
  async add({ network: { netns }, config, prevResult }) {
    using netlink = openNetlink({ netns })
    await netlink.links.set('lo', { up: true })
    if (prevResult) return prevResult
    return {
      cniVersion: config.cniVersion,
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
  status: async () => undefined,
}
