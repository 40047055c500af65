// Messages of D-Bus: calls with strings as bytes, and what is needed of answers. Pure.
// @see https://dbus.freedesktop.org/doc/dbus-specification.html, "Message Protocol"

export interface Call {
  /** Who is to answer, for instance `org.freedesktop.DBus`. */
  destination: string
  path: string
  interface: string
  member: string
  args?: readonly string[]
}

export interface Answer {
  /** Of the call. */
  serial: number
  /** The name of the error where the call failed. */
  error?: string
  /** The first value, where it is of these types. */
  value?: string | boolean
}

const messageTypes = { call: 1, answer: 2, error: 3 }
const fields = { path: 1, interface: 2, member: 3, error: 4, answerTo: 5, destination: 6, signature: 8 }
const headBytes = 16
/** No message is larger. */
const largest = 2 ** 27

const aligned = (at: number, to: number): number => Math.ceil(at / to) * to
const padded = (bytes: Buffer, to: number): Buffer =>
  Buffer.concat([bytes, Buffer.alloc(aligned(bytes.length, to) - bytes.length)])

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const text = (value: string): Buffer => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(`${value}\0`)])
/** A type's name; shorter than 256 bytes. */
const signature = (value: string): Buffer => Buffer.from([value.length, ...Buffer.from(value), 0])

export function encodeCall(serial: number, { args = [], ...call }: Call): Buffer {
  const field = (code: number, type: string, value: Buffer): Buffer =>
    Buffer.concat([Buffer.from([code]), signature(type), value])
  const all = [
    field(fields.path, 'o', text(call.path)),
    field(fields.interface, 's', text(call.interface)),
    field(fields.member, 's', text(call.member)),
    field(fields.destination, 's', text(call.destination)),
    ...(args.length > 0 ? [field(fields.signature, 'g', signature('s'.repeat(args.length)))] : []),
  ]
  const body = args.reduce((bytes, arg) => Buffer.concat([padded(bytes, 4), text(arg)]), Buffer.alloc(0))
  const list = all.reduce((bytes, one) => Buffer.concat([padded(bytes, 8), one]), Buffer.alloc(0))
  const head = Buffer.from([0x6c, messageTypes.call, 0, 1]) // little endian, no flags, version 1
  return Buffer.concat([padded(Buffer.concat([head, u32(body.length), u32(serial), u32(list.length), list]), 8), body])
}

/** The length of the message that begins here; undefined while too little of it is there. @throws RangeError */
export function lengthOf(bytes: Buffer): number | undefined {
  if (bytes.length < headBytes) return undefined
  if (bytes[0] !== 0x6c) throw new RangeError('an answer that is not little endian')
  const length = aligned(headBytes + bytes.readUInt32LE(12), 8) + bytes.readUInt32LE(4)
  if (length > largest) throw new RangeError(`an answer of ${length} bytes`)
  return length
}

/** Undefined for what is no answer. @throws RangeError for what no bus sends */
export function decodeAnswer(message: Buffer): Answer | undefined {
  const isError = message[1] === messageTypes.error
  if (message[1] !== messageTypes.answer && !isError) return undefined
  const end = headBytes + message.readUInt32LE(12)
  const found = new Map<number, string | number>()
  for (let at = headBytes; at < end;) {
    at = aligned(at, 8)
    const code = message.readUInt8(at)
    const type = shortText(message, at + 1)
    const value = readField(message, at + 3 + type.length, type)
    found.set(code, value.value)
    at = value.end
  }
  const body = message.subarray(aligned(end, 8))
  const types = String(found.get(fields.signature) ?? '')
  const first = types.startsWith('s')
    ? longText(body, 0)
    : types.startsWith('b')
      ? body.readUInt32LE(0) !== 0
      : undefined
  return {
    serial: Number(found.get(fields.answerTo) ?? 0),
    ...(isError && { error: String(found.get(fields.error) ?? 'error') }),
    ...(first !== undefined && { value: first }),
  }
}

function readField(message: Buffer, from: number, type: string): { value: string | number; end: number } {
  if (type === 'g') {
    const value = shortText(message, from)
    return { value, end: from + value.length + 2 }
  }
  const at = aligned(from, 4)
  if (type === 'u') return { value: message.readUInt32LE(at), end: at + 4 }
  if (type !== 's' && type !== 'o') throw new RangeError(`a header field of the type ${type}`)
  return { value: longText(message, at), end: at + 4 + message.readUInt32LE(at) + 1 }
}

const shortText = (bytes: Buffer, at: number): string =>
  bytes.subarray(at + 1, at + 1 + bytes.readUInt8(at)).toString('latin1')
const longText = (bytes: Buffer, at: number): string =>
  bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at)).toString()
