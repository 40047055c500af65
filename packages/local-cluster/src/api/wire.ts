// Protobuf on the wire: tags, numbers, pieces of bytes. Pure.

/** What a field's value can be on the wire. Groups (3, 4) are not used by Kubernetes. */
export type WireValue = bigint | Uint8Array

export class WireError extends Error {}

const lengthDelimited = 2
const longestVarint = 10

/** Each field of a message, in the order of the bytes. @throws WireError when the bytes are not a message */
export function* fieldsOf(bytes: Uint8Array): Generator<{ number: number; value: WireValue }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let index = 0; index < longestVarint; index += 1) {
      const byte = bytes[at]
      if (byte === undefined) throw new WireError('unexpected EOF')
      at += 1
      value |= BigInt(byte & 0x7f) << BigInt(7 * index)
      if (byte < 0x80) return value
    }
    throw new WireError('integer overflow')
  }
  const piece = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new WireError('unexpected EOF')
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const [number, type] = [Math.floor(tag / 8), tag % 8]
    if (number === 0) throw new WireError(`illegal tag ${tag}`)
    if (type === 0) yield { number, value: varint() }
    else if (type === lengthDelimited) yield { number, value: piece(Number(varint())) }
    else if (type === 1 || type === 5) {
      const start = at
      piece(type === 1 ? 8 : 4)
      yield {
        number,
        value: type === 1 ? view.getBigUint64(start, true) : BigInt(view.getUint32(start, true)),
      }
    } else throw new WireError(`illegal wireType ${type}`)
  }
}

const strict = new TextDecoder('utf-8', { fatal: true })

/** @throws WireError when the value is no text */
export function textOf(value: WireValue): string {
  const bytes = bytesOf(value)
  try {
    return strict.decode(bytes)
  } catch {
    throw new WireError('string field contains invalid UTF-8')
  }
}

/** @throws WireError when the value is a number */
export function bytesOf(value: WireValue): Uint8Array {
  if (typeof value === 'bigint') throw new WireError('wrong wireType: a number where bytes are expected')
  return value
}

/** A signed number. @throws WireError when the value is bytes, or larger than JavaScript counts */
export function numberOf(value: WireValue): number {
  if (typeof value !== 'bigint') throw new WireError('wrong wireType: bytes where a number is expected')
  const number = Number(BigInt.asIntN(64, value))
  if (!Number.isSafeInteger(number)) throw new WireError(`number ${BigInt.asIntN(64, value)} is out of range`)
  return number
}
