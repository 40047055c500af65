// Ports of bridges: settings, VLANs and where frames are sent. @see bridge(8)
import { encodePort } from './messages/bridge-port.ts'
import type { BridgePort } from './messages/bridge-port.ts'
import { decodeVlans, encodeVlanFilter, encodeVlans } from './messages/bridge-vlan.ts'
import type { BridgeVlan, PortVlans } from './messages/bridge-vlan.ts'
import { IFLA, linkHead, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK } from './messages/link.ts'
import type { LinkRef } from './messages/link.ts'
import { encode, NLM_F } from './messages/message.ts'
import {
  AF_BRIDGE,
  decodeForwarding,
  encodeForwarding,
  encodeForwardingFilter,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './messages/neighbour.ts'
import type { ForwardingEntry } from './messages/neighbour.ts'
import { indexOf } from './links.ts'
import type { NetlinkSocket } from './socket.ts'

export interface Bridge {
  /** Changes a port; `links.get` tells how it is. */
  setPort(port: LinkRef, settings: BridgePort): Promise<void>
  /** All ports and bridges that are in VLANs. The bridge must filter them (`vlanFiltering`) for that to have an effect. */
  vlans(): Promise<PortVlans[]>
  /** @param self whether the link is the bridge itself and not a port */
  addVlans(port: LinkRef, vlans: readonly BridgeVlan[], self?: boolean): Promise<void>
  deleteVlans(port: LinkRef, vlans: readonly BridgeVlan[], self?: boolean): Promise<void>
  /** Where frames go by a port or by a vxlan; undefined: by all. */
  forwarding(link?: LinkRef): Promise<ForwardingEntry[]>
  /** `append`: for a vxlan one more destination of the same address. */
  addForwarding(entry: ForwardingEntry, how?: 'new' | 'replace' | 'append'): Promise<void>
  deleteForwarding(entry: ForwardingEntry): Promise<void>
}

const adding = { new: NLM_F.EXCL, replace: NLM_F.REPLACE, append: NLM_F.APPEND }

export function createBridge(socket: NetlinkSocket): Bridge {
  return {
    async setPort(port, settings) {
      const head = linkHead(await indexOf(socket, port), { family: AF_BRIDGE })
      const body = Buffer.concat([head, encode([[IFLA.PROTINFO, encodePort(settings)]])])
      const what = `set ${Object.keys(settings).join(', ')} of port`
      await socket.ask({ type: RTM_SETLINK, call: what, path: String(port), body })
    },
    async vlans() {
      const request = { type: RTM_GETLINK, call: 'list', path: 'VLANs of bridges', body: encodeVlanFilter() }
      return (await socket.dump(request)).flatMap(({ data }) => decodeVlans(data) ?? [])
    },
    async addVlans(port, vlans, self = false) {
      const body = encodeVlans(await indexOf(socket, port), vlans, self)
      await socket.ask({ type: RTM_SETLINK, call: 'add VLANs of port', path: String(port), body })
    },
    async deleteVlans(port, vlans, self = false) {
      const body = encodeVlans(await indexOf(socket, port), vlans, self)
      await socket.ask({ type: RTM_DELLINK, call: 'delete VLANs of port', path: String(port), body })
    },
    async forwarding(link) {
      const body = encodeForwardingFilter(link === undefined ? undefined : await indexOf(socket, link))
      const answers = await socket.dump({ type: RTM_GETNEIGH, call: 'list', path: 'forwarding entries', body })
      return answers.flatMap(({ data }) => decodeForwarding(data) ?? [])
    },
    async addForwarding(entry, how = 'new') {
      const flags = NLM_F.CREATE | adding[how]
      const body = encodeForwarding(entry)
      await socket.ask({ type: RTM_NEWNEIGH, flags, call: 'add forwarding entry', path: entry.mac, body })
    },
    async deleteForwarding(entry) {
      const body = encodeForwarding(entry)
      await socket.ask({ type: RTM_DELNEIGH, call: 'delete forwarding entry', path: entry.mac, body })
    },
  }
}
