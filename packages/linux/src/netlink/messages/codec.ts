// Values of netlink attributes as bytes and back, and tables of them: one entry per attribute of a message.
import { addressBytes, addressText } from '../ip.ts'
import type { Attribute } from './message.ts'

export interface Codec<Value> {
  encode(value: Value): Buffer
  decode(content: Buffer): Value
}

/** Which attribute holds each field, and how. */
export type Table<Fields> = {
  readonly [Name in keyof Fields]-?: readonly [type: number, codec: Codec<Exclude<Fields[Name], undefined>>]
}

type Entry = readonly [name: string, [type: number, codec: Codec<unknown>]]

/** The attributes of those fields that are set. */
export function encodeTable<Fields extends object>(table: Table<Fields>, fields: Fields): Attribute[] {
  const values = new Map(Object.entries(fields))
  return (Object.entries(table) as Entry[]).flatMap(([name, [type, codec]]) => {
    const value: unknown = values.get(name)
    return value === undefined ? [] : [[type, codec.encode(value)] as const]
  })
}

/** The fields whose attributes are there. */
export function decodeTable<Fields extends object>(
  table: Table<Fields>,
  attributes: ReadonlyMap<number, Buffer>,
): Partial<Fields> {
  const found = (Object.entries(table) as Entry[]).flatMap(([name, [type, codec]]) => {
    const content = attributes.get(type)
    return content === undefined ? [] : [[name, codec.decode(content)]]
  })
  return Object.fromEntries(found) as Partial<Fields>
}

function number(size: number, write: (buffer: Buffer, value: number) => void, read: (content: Buffer) => number) {
  return {
    encode(value: number): Buffer {
      const buffer = Buffer.alloc(size)
      write(buffer, value)
      return buffer
    },
    decode(content: Buffer): number {
      if (content.length >= size) return read(content)
      throw new RangeError(`${content.length} bytes of a netlink message, where a number of ${size} should be`)
    },
  }
}

/** Numbers of the processor's byte order, which is little endian on all that we run on. */
export const u8: Codec<number> = number(
  1,
  (to, value) => to.writeUInt8(value),
  (from) => from.readUInt8(),
)
export const u16: Codec<number> = number(
  2,
  (to, value) => to.writeUInt16LE(value),
  (from) => from.readUInt16LE(),
)
export const u32: Codec<number> = number(
  4,
  (to, value) => to.writeUInt32LE(value >>> 0),
  (from) => from.readUInt32LE(),
)
export const s32: Codec<number> = number(
  4,
  (to, value) => to.writeInt32LE(value),
  (from) => from.readInt32LE(),
)
export const u64: Codec<number> = number(
  8,
  (to, value) => to.writeBigUInt64LE(BigInt(value)),
  (from) => Number(from.readBigUInt64LE()),
)
/** Numbers of network byte order. */
export const be16: Codec<number> = number(
  2,
  (to, value) => to.writeUInt16BE(value),
  (from) => from.readUInt16BE(),
)
export const be32: Codec<number> = number(
  4,
  (to, value) => to.writeUInt32BE(value >>> 0),
  (from) => from.readUInt32BE(),
)
export const be64: Codec<number> = number(
  8,
  (to, value) => to.writeBigUInt64BE(BigInt(value)),
  (from) => Number(from.readBigUInt64BE()),
)

/** A byte that is 0 or not. */
export const flag: Codec<boolean> = { encode: (value) => u8.encode(value ? 1 : 0), decode: (from) => from[0] !== 0 }
/** A duration in the kernel's hundredths of a second. */
export const seconds: Codec<number> = {
  encode: (value) => u32.encode(Math.round(value * 100)),
  decode: (from) => u32.decode(from) / 100,
}
export const string: Codec<string> = {
  encode: (value) => Buffer.from(`${value}\0`),
  decode: (from) => from.toString('utf8').replace(/\0+$/, ''),
}
/** For instance `02:00:00:00:00:01`. */
export const mac: Codec<string> = {
  encode(value) {
    if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5,19}$/i.test(value))
      throw new RangeError(`not a link-layer address: ${JSON.stringify(value)}`)
    return Buffer.from(value.replaceAll(':', ''), 'hex')
  },
  decode: (from) => from.toString('hex').replace(/(..)(?!$)/g, '$1:'),
}
/** An IP address of either family. */
export const ip: Codec<string> = { encode: addressBytes, decode: addressText }

/** Names for numbers, and numbers that have none. */
export function openNames<Name extends string>(
  codec: Codec<number>,
  numbers: Readonly<Record<Name, number>>,
): Codec<Name | number> {
  const named = names(codec, numbers)
  const known = new Set(Object.values<number>(numbers))
  return {
    encode: (value) => (typeof value === 'number' ? codec.encode(value) : named.encode(value)),
    decode(content) {
      const value = codec.decode(content)
      return known.has(value) ? named.decode(content) : value
    },
  }
}

/** Names for numbers, of which there are no others. */
export function names<Name extends string>(codec: Codec<number>, numbers: Readonly<Record<Name, number>>): Codec<Name> {
  const byNumber = new Map(Object.entries<number>(numbers).map(([name, value]) => [value, name as Name]))
  return {
    encode(name) {
      const value: number | undefined = numbers[name]
      if (value === undefined)
        throw new RangeError(`${JSON.stringify(name)} is none of ${Object.keys(numbers).join(', ')}`)
      return codec.encode(value)
    },
    decode(content) {
      const value = codec.decode(content)
      return byNumber.get(value) ?? (String(value) as Name)
    },
  }
}

/** Bits by name: those that are set, and the number that names stand for. */
export function namedBits<Name extends string>(
  bits: Readonly<Record<Name, number>>,
): Codec<Partial<Record<Name, true>>> {
  const entries = Object.entries<number>(bits) as [Name, number][]
  return {
    encode: (set) => u32.encode(entries.reduce((sum, [name, bit]) => (set[name] ? sum | bit : sum), 0)),
    decode(content) {
      const value = u32.decode(content)
      const set = entries.filter(([, bit]) => (value & bit) !== 0).map(([name]) => [name, true])
      return Object.fromEntries(set) as Partial<Record<Name, true>>
    },
  }
}
