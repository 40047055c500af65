// Features of links, such as checksums by the hardware, as messages of the generic netlink family ethtool. Pure.
// @see ethtool(8), the kernel's Documentation/networking/ethtool-netlink.rst
import { string, u32 } from './codec.ts'
import { encodeGeneric, genericHeadBytes } from './generic.ts'
import type { LinkRef } from './link.ts'
import { decode, decodeAll, decodeBody, nested } from './message.ts'
import type { Attribute } from './message.ts'

const ETHTOOL_MSG = { FEATURES_GET: 11, FEATURES_SET: 12 }
const ETHTOOL_A_HEADER = { DEV_INDEX: 1, DEV_NAME: 2 }
const ETHTOOL_A_FEATURES = { HEADER: 1, HW: 2, WANTED: 3, ACTIVE: 4, NOCHANGE: 5 }
const ETHTOOL_A_BITSET = { NOMASK: 1, BITS: 3 }
const ETHTOOL_A_BITSET_BITS_BIT = 1
const ETHTOOL_A_BITSET_BIT = { NAME: 2, VALUE: 3 }

export interface Feature {
  /** Kernel's name, for instance `tx-checksum-ip-generic`. */
  name: string
  active: boolean
  /** Whether it can be switched. */
  changeable: boolean
}

function linkAttribute(link: LinkRef): Attribute {
  const inner: Attribute =
    typeof link === 'number'
      ? [ETHTOOL_A_HEADER.DEV_INDEX, u32.encode(link)]
      : [ETHTOOL_A_HEADER.DEV_NAME, string.encode(link)]
  return [ETHTOOL_A_FEATURES.HEADER, [inner]]
}

export const encodeFeatureQuestion = (link: LinkRef): Buffer =>
  encodeGeneric(ETHTOOL_MSG.FEATURES_GET, [linkAttribute(link)])

export function encodeFeatureChange(link: LinkRef, wanted: Readonly<Record<string, boolean>>): Buffer {
  const bits = Object.entries(wanted).map(([name, on]): Attribute => {
    const bit: Attribute[] = [[ETHTOOL_A_BITSET_BIT.NAME, string.encode(name)]]
    if (on) bit.push([ETHTOOL_A_BITSET_BIT.VALUE, Buffer.alloc(0)])
    return [ETHTOOL_A_BITSET_BITS_BIT, bit]
  })
  const attributes: Attribute[] = [linkAttribute(link), [ETHTOOL_A_FEATURES.WANTED, [[ETHTOOL_A_BITSET.BITS, bits]]]]
  return encodeGeneric(ETHTOOL_MSG.FEATURES_SET, attributes)
}

export function decodeFeatures(data: Buffer): Feature[] {
  const attributes = decodeBody(data, genericHeadBytes)
  const bits = (type: number): Map<string, boolean> => decodeBits(nested(attributes, type))
  const [active, fixed] = [bits(ETHTOOL_A_FEATURES.ACTIVE), bits(ETHTOOL_A_FEATURES.NOCHANGE)]
  return [...bits(ETHTOOL_A_FEATURES.HW)].map(([name, canChange]) => ({
    name,
    active: active.get(name) ?? false,
    changeable: canChange && !fixed.get(name),
  }))
}

/** Named bits, and whether they are set; without a mask only those that are set are there. */
function decodeBits(set: ReadonlyMap<number, Buffer>): Map<string, boolean> {
  const isList = set.has(ETHTOOL_A_BITSET.NOMASK)
  const bits = decodeAll(set.get(ETHTOOL_A_BITSET.BITS) ?? Buffer.alloc(0)).map(([, bit]) => decode(bit))
  return new Map(
    bits.map((bit) => [
      string.decode(bit.get(ETHTOOL_A_BITSET_BIT.NAME) ?? Buffer.alloc(0)),
      isList || bit.has(ETHTOOL_A_BITSET_BIT.VALUE),
    ]),
  )
}
