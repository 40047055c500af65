// Queueing disciplines: how packets wait at a link. Pure. @see tc(8), tc-tbf(8)
import { s32, string, u32, u64 } from './codec.ts'
import { decodeBody, encode, nested } from './message.ts'
import type { Attribute } from './message.ts'

export const RTM_NEWQDISC = 36
export const RTM_DELQDISC = 37
export const RTM_GETQDISC = 38
export const TCA = { KIND: 1, OPTIONS: 2 }
const TCA_TBF = { PARMS: 1, RATE64: 4, BURST: 6 }
const TC_LINKLAYER_ETHERNET = 1
const headBytes = 20
const tbfBytes = 36
const parentNumbers = { root: 0xffff_ffff, ingress: 0xffff_fff1 }
/** The handle of ingress and clsact is always this; filters on ingress have it as their parent. */
export const INGRESS_HANDLE = 0xffff_0000
const largestRate = 0xffff_ffff
/** The kernel counts times of tc in units of 64 ns. */
const ticksPerSecond = 1e9 / 64

/** Lets packets through at a rate; what exceeds the burst waits, what exceeds the limit is dropped. */
export interface TbfQdisc {
  kind: 'tbf'
  /** Bytes per second. */
  rate: number
  /** Bytes that may go at once. */
  burst: number
  /** Bytes that may wait. For a longest wait of L seconds: rate × L + burst. */
  limit: number
}

export type QdiscDetails = TbfQdisc | { kind: 'ingress' } | { kind: 'clsact' }

export type NewQdisc = QdiscDetails & {
  /** Major number, for instance 1 for `1:`; default: the kernel's choice. Ingress and clsact have ffff. */
  handle?: number
}

export interface Qdisc {
  /** Of the link. */
  index: number
  kind: string
  /** Where the kind is known here. */
  details?: QdiscDetails
  /** Major number. */
  handle: number
  parent: 'root' | 'ingress' | number
}

/** `struct tcmsg` */
export function tcHead(
  index: number,
  { handle = 0, parent = 0, info = 0 }: { handle?: number; parent?: number; info?: number } = {},
): Buffer {
  return Buffer.concat([Buffer.alloc(4), s32.encode(index), ...[handle, parent, info].map(u32.encode)])
}

export function encodeQdisc(index: number, qdisc: NewQdisc): Buffer {
  const attributes: Attribute[] = [[TCA.KIND, string.encode(qdisc.kind)]]
  if (qdisc.kind !== 'tbf') {
    const at = { handle: INGRESS_HANDLE, parent: parentNumbers.ingress }
    return Buffer.concat([tcHead(index, at), encode(attributes)])
  }
  attributes.push([TCA.OPTIONS, encodeTbf(qdisc)])
  const at = { handle: ((qdisc.handle ?? 0) << 16) >>> 0, parent: parentNumbers.root }
  return Buffer.concat([tcHead(index, at), encode(attributes)])
}

export function encodeQdiscRef(index: number, kind: 'root' | 'ingress'): Buffer {
  return tcHead(index, { parent: parentNumbers[kind], handle: kind === 'ingress' ? INGRESS_HANDLE : 0 })
}

/** `struct tc_tbf_qopt`: rate and peak rate of 12 bytes each, limit, buffer in ticks, mtu. */
function encodeTbf({ rate, burst, limit }: TbfQdisc): Attribute[] {
  const parms = Buffer.alloc(tbfBytes)
  parms.writeUInt8(TC_LINKLAYER_ETHERNET, 1)
  parms.writeUInt32LE(Math.min(rate, largestRate), 8)
  parms.writeUInt32LE(limit, 24)
  parms.writeUInt32LE(Math.min(Math.round((burst / rate) * ticksPerSecond), largestRate), 28)
  const attributes: Attribute[] = [
    [TCA_TBF.PARMS, parms],
    [TCA_TBF.BURST, u32.encode(burst)],
  ]
  if (rate > largestRate) attributes.push([TCA_TBF.RATE64, u64.encode(rate)])
  return attributes
}

function decodeTbf(options: ReadonlyMap<number, Buffer>): TbfQdisc | undefined {
  const parms = options.get(TCA_TBF.PARMS)
  if (!parms || parms.length < tbfBytes) return undefined
  const large = options.get(TCA_TBF.RATE64)
  const rate = large ? u64.decode(large) : parms.readUInt32LE(8)
  const burst = Math.round((parms.readUInt32LE(28) / ticksPerSecond) * rate)
  return { kind: 'tbf', rate, burst, limit: parms.readUInt32LE(24) }
}

export function decodeQdisc(data: Buffer): Qdisc {
  const attributes = decodeBody(data, headBytes)
  const kind = string.decode(attributes.get(TCA.KIND) ?? Buffer.alloc(0))
  const details = decodeDetails(kind, nested(attributes, TCA.OPTIONS))
  const parent = data.readUInt32LE(12)
  return {
    index: data.readInt32LE(4),
    kind,
    ...(details && { details }),
    handle: data.readUInt32LE(8) >>> 16,
    parent: parent === parentNumbers.root ? 'root' : parent === parentNumbers.ingress ? 'ingress' : parent,
  }
}

function decodeDetails(kind: string, options: ReadonlyMap<number, Buffer>): QdiscDetails | undefined {
  if (kind === 'tbf') return decodeTbf(options)
  return kind === 'ingress' || kind === 'clsact' ? { kind } : undefined
}
