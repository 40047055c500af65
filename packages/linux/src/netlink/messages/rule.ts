// Rules that choose routing tables. @see ip-rule(8)
import { decodeTable, encodeTable, openNames, string, u32, u8 } from './codec.ts'
import type { Codec, Table } from './codec.ts'
import { AF_INET, AF_INET6, addressText, familyNumber, parsePrefix } from '../ip.ts'
import type { Family, Prefix } from '../ip.ts'
import { decodeBody, encode } from './message.ts'
import type { Attribute } from './message.ts'

export const RTM_NEWRULE = 32
export const RTM_DELRULE = 33
export const RTM_GETRULE = 34
const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  SUPPRESS_PREFIXLEN: 14,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
  L3MDEV: 19,
}
const FIB_RULE_INVERT = 2
const headBytes = 12
/** What a rule without it says. */
const suppressesNothing = 0xffff_ffff

/** A number where it has no name here. */
export type RuleAction = 'table' | 'blackhole' | 'unreachable' | 'prohibit' | number
const action: Codec<RuleAction> = openNames(u8, { table: 1, blackhole: 6, unreachable: 7, prohibit: 8 })

interface Options {
  /** Rules are tried from the lowest on; default: before those there are. */
  priority?: number
  /** Routing table, for the action table without `vrf`; 255 local, 254 main, 253 default. */
  table?: number
  /** Mark of the packet. */
  mark?: number
  /** Bits of the mark that count; default: all. */
  mask?: number
  /** Name of the link that packets come in by; `lo` for packets of this machine. */
  inputLink?: string
  outputLink?: string
  /** Routes with a prefix of at most this length are passed over. */
  suppressPrefixLength?: number
  /** Whether the table is that of the packet's vrf. */
  vrf?: boolean
}

export interface Rule extends Options {
  family: Family
  /** For instance `10.0.0.0/24`; absent: any. */
  from?: string
  to?: string
  /** Default: table. */
  action?: RuleAction
  /** Whether it is for packets that do not match. */
  invert?: boolean
}

const table: Table<Options> = {
  inputLink: [FRA.IIFNAME, string],
  priority: [FRA.PRIORITY, u32],
  mark: [FRA.FWMARK, u32],
  suppressPrefixLength: [FRA.SUPPRESS_PREFIXLEN, u32],
  table: [FRA.TABLE, u32],
  mask: [FRA.FWMASK, u32],
  outputLink: [FRA.OIFNAME, string],
  vrf: [FRA.L3MDEV, { encode: (on) => u8.encode(on ? 1 : 0), decode: (from) => from[0] !== 0 }],
}

/** `struct fib_rule_hdr` */
export function encodeRule({ family, from, to, action: what = 'table', invert = false, ...options }: Rule): Buffer {
  const [source, destination] = [prefixOf(from, family), prefixOf(to, family)]
  const head = Buffer.alloc(headBytes)
  head.writeUInt8(familyNumber(family), 0)
  head.writeUInt8(destination?.length ?? 0, 1)
  head.writeUInt8(source?.length ?? 0, 2)
  head.writeUInt8(action.encode(what)[0] ?? 0, 7)
  head.writeUInt32LE(invert ? FIB_RULE_INVERT : 0, 8)
  const attributes: Attribute[] = encodeTable(table, options)
  if (source) attributes.push([FRA.SRC, source.bytes])
  if (destination) attributes.push([FRA.DST, destination.bytes])
  return Buffer.concat([head, encode(attributes)])
}

function prefixOf(text: string | undefined, family: Family): Prefix | undefined {
  if (text === undefined) return undefined
  const prefix = parsePrefix(text)
  if (prefix.family !== familyNumber(family)) throw new RangeError(`${text} is not of IPv${family}`)
  return prefix.length === 0 ? undefined : prefix
}

export function encodeRuleFilter(family: Family | undefined): Buffer {
  const head = Buffer.alloc(headBytes)
  head.writeUInt8(familyNumber(family), 0)
  return head
}

export function decodeRule(data: Buffer): Rule | undefined {
  const family = data[0] === AF_INET ? 4 : data[0] === AF_INET6 ? 6 : undefined
  if (family === undefined) return undefined
  const attributes = decodeBody(data, headBytes)
  const [source, destination] = [attributes.get(FRA.SRC), attributes.get(FRA.DST)]
  const { suppressPrefixLength, vrf, ...options } = decodeTable(table, attributes)
  return {
    family,
    priority: 0, // the kernel leaves out a zero
    ...options,
    ...(suppressPrefixLength !== suppressesNothing && suppressPrefixLength !== undefined && { suppressPrefixLength }),
    ...(vrf && { vrf }),
    ...(source && { from: `${addressText(source)}/${data.readUInt8(2)}` }),
    ...(destination && { to: `${addressText(destination)}/${data.readUInt8(1)}` }),
    action: action.decode(data.subarray(7, 8)),
    ...((data.readUInt32LE(8) & FIB_RULE_INVERT) !== 0 && { invert: true }),
  }
}
