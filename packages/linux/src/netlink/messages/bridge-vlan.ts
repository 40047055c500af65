// VLANs of the ports of a bridge. Pure. @see bridge(8)
import { u16, u32 } from './codec.ts'
import { IFLA, linkHead } from './link.ts'
import { decodeAll, decodeBody, encode } from './message.ts'
import type { Attribute } from './message.ts'
import { AF_BRIDGE } from './neighbour.ts'

const IFLA_BRIDGE = { FLAGS: 0, VLAN_INFO: 2 }
const BRIDGE_FLAGS_SELF = 2
const BRIDGE_VLAN_INFO = { PVID: 2, UNTAGGED: 4, RANGE_BEGIN: 8, RANGE_END: 16 }
/** For IFLA_EXT_MASK: VLANs that follow one another and are alike come as a range. */
const RTEXT_FILTER_BRVLAN_COMPRESSED = 4
const headBytes = 16

export interface BridgeVlan {
  id: number
  /** The last of a range that begins with `id`. */
  last?: number
  /** Untagged frames that come in belong to it. */
  pvid?: boolean
  /** Frames go out without a tag. */
  untagged?: boolean
}

export interface PortVlans {
  /** Of the port, or of the bridge itself. */
  index: number
  vlans: BridgeVlan[]
}

/** @param self whether the link is the bridge itself and not a port */
export function encodeVlans(index: number, vlans: readonly BridgeVlan[], self: boolean): Buffer {
  const spec: Attribute[] = self ? [[IFLA_BRIDGE.FLAGS, u16.encode(BRIDGE_FLAGS_SELF)]] : []
  const info = (flags: number, id: number): Attribute => [
    IFLA_BRIDGE.VLAN_INFO,
    Buffer.concat([u16.encode(flags), u16.encode(id)]),
  ]
  for (const { id, last = id, pvid, untagged } of vlans) {
    const flags = (pvid ? BRIDGE_VLAN_INFO.PVID : 0) | (untagged ? BRIDGE_VLAN_INFO.UNTAGGED : 0)
    if (last === id) spec.push(info(flags, id))
    else spec.push(info(flags | BRIDGE_VLAN_INFO.RANGE_BEGIN, id), info(flags | BRIDGE_VLAN_INFO.RANGE_END, last))
  }
  return Buffer.concat([linkHead(index, { family: AF_BRIDGE }), encode([[IFLA.AF_SPEC, spec]])])
}

export const encodeVlanFilter = (): Buffer =>
  Buffer.concat([
    linkHead(0, { family: AF_BRIDGE }),
    encode([[IFLA.EXT_MASK, u32.encode(RTEXT_FILTER_BRVLAN_COMPRESSED)]]),
  ])

/** Undefined for a link that has no VLANs. */
export function decodeVlans(data: Buffer): PortVlans | undefined {
  const spec = decodeBody(data, headBytes).get(IFLA.AF_SPEC)
  if (!spec) return undefined
  const vlans: BridgeVlan[] = []
  for (const [type, content] of decodeAll(spec)) {
    if (type !== IFLA_BRIDGE.VLAN_INFO) continue
    const [flags, id] = [u16.decode(content), u16.decode(content.subarray(2))]
    const begun = vlans.at(-1)
    if (begun && flags & BRIDGE_VLAN_INFO.RANGE_END) begun.last = id
    else {
      const [pvid, untagged] = [(flags & BRIDGE_VLAN_INFO.PVID) !== 0, (flags & BRIDGE_VLAN_INFO.UNTAGGED) !== 0]
      vlans.push({ id, ...(pvid && { pvid }), ...(untagged && { untagged }) })
    }
  }
  return vlans.length === 0 ? undefined : { index: data.readInt32LE(4), vlans }
}
