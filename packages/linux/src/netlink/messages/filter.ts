// Filters that hand every packet which comes in by a link to another link. Pure. @see tc-u32(8), tc-mirred(8)
import { string, u32 } from './codec.ts'
import { decodeBody, encode, nested } from './message.ts'
import type { Attribute } from './message.ts'
import { INGRESS_HANDLE, TCA, tcHead } from './qdisc.ts'

export const RTM_NEWTFILTER = 44
export const RTM_DELTFILTER = 45
export const RTM_GETTFILTER = 46
const TCA_U32 = { CLASSID: 1, SEL: 5, ACT: 7 }
const TCA_ACT = { KIND: 1, OPTIONS: 2 }
const TCA_MIRRED_PARMS = 2
const TC_U32_TERMINAL = 1
const TC_ACT_STOLEN = 4
const TCA_EGRESS_REDIR = 1
const headBytes = 20
/** `struct tc_mirred` */
const mirredBytes = 28
/** ETH_P_ALL, in network byte order. */
const allProtocols = 0x0300

export interface Redirect {
  /** Index of the link whose packets it takes; it needs a qdisc of the kind ingress or clsact. */
  index: number
  /** Filters are tried from the lowest on. */
  priority: number
  /** Index of the link that they leave by. */
  to: number
}

const filterHead = (index: number, priority = 0): Buffer =>
  tcHead(index, { parent: INGRESS_HANDLE, info: ((priority << 16) | (priority === 0 ? 0 : allProtocols)) >>> 0 })

export function encodeRedirect({ index, priority, to }: Redirect): Buffer {
  const selector = Buffer.alloc(32) // struct tc_u32_sel with one struct tc_u32_key, whose mask of 0 matches everything
  selector.writeUInt8(TC_U32_TERMINAL, 0)
  selector.writeUInt8(1, 2)
  // struct tc_mirred
  const mirred = Buffer.concat([0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to].map(u32.encode))
  const action: Attribute[] = [
    [TCA_ACT.KIND, string.encode('mirred')],
    [TCA_ACT.OPTIONS, [[TCA_MIRRED_PARMS, mirred]]],
  ]
  const options: Attribute[] = [
    [TCA_U32.CLASSID, u32.encode(0x1_0001)],
    [TCA_U32.SEL, selector],
    [TCA_U32.ACT, [[1, action]]],
  ]
  const attributes: Attribute[] = [
    [TCA.KIND, string.encode('u32')],
    [TCA.OPTIONS, options],
  ]
  return Buffer.concat([filterHead(index, priority), encode(attributes)])
}

export const encodeRedirectRef = (index: number, priority: number): Buffer => filterHead(index, priority)
export const encodeRedirectFilter = (index: number): Buffer => filterHead(index)

/** Undefined for filters of other kinds, and for what the kernel adds of its own. */
export function decodeRedirect(data: Buffer): Redirect | undefined {
  const attributes = decodeBody(data, headBytes)
  const actions = nested(nested(attributes, TCA.OPTIONS), TCA_U32.ACT)
  const action = nested(actions, 1)
  const mirred = nested(action, TCA_ACT.OPTIONS).get(TCA_MIRRED_PARMS)
  if (!mirred || mirred.length < mirredBytes || mirred.readUInt32LE(20) !== TCA_EGRESS_REDIR) return undefined
  return { index: data.readInt32LE(4), priority: data.readUInt32LE(16) >>> 16, to: mirred.readUInt32LE(24) }
}
