// The bytes of rtnetlink messages: heads and attributes. @see netlink(7), rtnetlink(7)
import { parseAttributes } from 'netlink'

/** An attribute: number and content; a list of attributes is nested. */
export type Attribute = readonly [type: number, content: Buffer | readonly Attribute[]]

const nested = 0x8000

/** Lays attributes out one after the other, each padded to four bytes. */
export function encode(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(
    attributes.map(([type, content]) => {
      const data = content instanceof Buffer ? content : encode(content as readonly Attribute[])
      const head = Buffer.alloc(4)
      head.writeUInt16LE(data.length + head.length, 0)
      head.writeUInt16LE(content instanceof Buffer ? type : type | nested, 2)
      return Buffer.concat([head, data, Buffer.alloc(-data.length & 3)])
    }),
  )
}

/** Attributes by number. */
export function decode(content: Buffer): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>()
  parseAttributes(content, ({ type, data }) => attributes.set(type & 0x3fff, data))
  return attributes
}

export const u8 = (value: number): Buffer => Buffer.from([value])
export const text = (value: string): Buffer => Buffer.from(`${value}\0`)
export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32LE(value >>> 0)
  return buffer
}
export const textOf = (content: Buffer | undefined): string => content?.toString('utf8').replace(/\0+$/, '') ?? ''
export const macOf = (content: Buffer | undefined): string | undefined =>
  content && content.toString('hex').replace(/(..)(?!$)/g, '$1:')

/** `struct ifinfomsg` */
export function linkHead(
  index = 0,
  { family = 0, flags = 0, change = 0 }: { family?: number; flags?: number; change?: number } = {},
): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt8(family, 0)
  head.writeInt32LE(index, 4)
  head.writeUInt32LE(flags, 8)
  head.writeUInt32LE(change, 12)
  return head
}

/** `struct ifaddrmsg` */
export function addressHead(index: number, family: number, prefix: number, scope: number): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt8(family, 0)
  head.writeUInt8(prefix, 1)
  head.writeUInt8(scope, 3)
  head.writeUInt32LE(index, 4)
  return head
}

/** `struct rtmsg` */
export function routeHead(fields: {
  family: number
  prefix: number
  table: number
  protocol: number
  scope: number
}): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt8(fields.family, 0)
  head.writeUInt8(fields.prefix, 1)
  head.writeUInt8(fields.table, 4)
  head.writeUInt8(fields.protocol, 5)
  head.writeUInt8(fields.scope, 6)
  head.writeUInt8(1, 7) // unicast
  return head
}
