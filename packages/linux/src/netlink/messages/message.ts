// The bytes of netlink messages: frames and attributes. @see netlink(7)

/** An attribute: number and content; a list of attributes is nested. */
export type Attribute = readonly [type: number, content: Buffer | readonly Attribute[]]

/** Flags of an attribute's number. */
const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff
const attributeHead = 4

/** Flags of a message. */
export const NLM_F = {
  REQUEST: 1,
  ACK: 4,
  ECHO: 8,
  DUMP_INTR: 0x10,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  /** Of an acknowledgement: it repeats only the head of the request. */
  CAPPED: 0x100,
  /** Of an acknowledgement: attributes follow. */
  ACK_TLVS: 0x200,
}
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
const NLMSGERR_ATTR_MSG = 1
const messageHead = 16

export interface Message {
  type: number
  flags: number
  /** The number of the request that it answers. */
  sequence: number
  data: Buffer
}

/** Lays attributes out one after the other, each padded to four bytes. */
export function encode(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(
    attributes.flatMap(([type, content]) => {
      const isNested = !Buffer.isBuffer(content)
      const data = isNested ? encode(content) : content
      const head = Buffer.alloc(attributeHead)
      head.writeUInt16LE(data.length + attributeHead, 0)
      head.writeUInt16LE(isNested ? type | NLA_F_NESTED : type, 2)
      return [head, data, Buffer.alloc(padding(data.length))]
    }),
  )
}

const padding = (length: number): number => -length & 3

/** All attributes in their order; one number may be there many times. What is cut off at the end is left out. */
export function decodeAll(content: Buffer): [type: number, content: Buffer][] {
  const attributes: [number, Buffer][] = []
  for (let at = 0; at + attributeHead <= content.length;) {
    const length = content.readUInt16LE(at)
    if (length < attributeHead || at + length > content.length) break
    attributes.push([content.readUInt16LE(at + 2) & NLA_TYPE_MASK, content.subarray(at + attributeHead, at + length)])
    at += length + padding(length)
  }
  return attributes
}

/** Attributes by number. */
export const decode = (content: Buffer): Map<number, Buffer> => new Map(decodeAll(content))

/** The attributes after a message's head. @throws RangeError for what is shorter than that */
export function decodeBody(data: Buffer, headBytes: number): Map<number, Buffer> {
  if (data.length >= headBytes) return decode(data.subarray(headBytes))
  throw new RangeError(`a message of ${data.length} bytes, where its head alone has ${headBytes}`)
}

/** The attributes within one; none when it is not there. */
export const nested = (attributes: ReadonlyMap<number, Buffer>, type: number): Map<number, Buffer> =>
  decode(attributes.get(type) ?? Buffer.alloc(0))

/** A message with its head. */
export function frame({ type, flags, sequence, data }: Message): Buffer {
  const head = Buffer.alloc(messageHead)
  head.writeUInt32LE(messageHead + data.length, 0)
  head.writeUInt16LE(type, 4)
  head.writeUInt16LE(flags, 6)
  head.writeUInt32LE(sequence, 8)
  return Buffer.concat([head, data])
}

/** The messages of a packet. */
export function unframe(packet: Buffer): Message[] {
  const messages: Message[] = []
  for (let at = 0; at + messageHead <= packet.length;) {
    const length = packet.readUInt32LE(at)
    if (length < messageHead || at + length > packet.length) break
    messages.push({
      type: packet.readUInt16LE(at + 4),
      flags: packet.readUInt16LE(at + 6),
      sequence: packet.readUInt32LE(at + 8),
      data: packet.subarray(at + messageHead, at + length),
    })
    at += length + padding(length)
  }
  return messages
}

export interface Outcome {
  /** 0 is success. */
  errno: number
  /** The kernel's explanation, where it has one. */
  text: string
}

/** Reads what ends an answer: NLMSG_ERROR, which is also the acknowledgement, or NLMSG_DONE. */
export function outcomeOf({ type, flags, data }: Message): Outcome {
  const errno = data.length < 4 ? 0 : -data.readInt32LE(0)
  if (!(flags & NLM_F.ACK_TLVS)) return { errno, text: '' }
  const request = type === NLMSG_DONE ? 0 : flags & NLM_F.CAPPED || data.length < 8 ? messageHead : data.readUInt32LE(4)
  const attributes = decode(data.subarray(4 + request + padding(request)))
  return { errno, text: attributes.get(NLMSGERR_ATTR_MSG)?.toString('utf8').replace(/\0+$/, '') ?? '' }
}
