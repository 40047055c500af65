// SPDY/3.1 frames as bytes.

const TYPES = { synStream: 1, synReply: 2, reset: 3, ping: 6, goAway: 7, headers: 8 } as const
const MAX_CONTROL = 64 << 10
const HEAD = 8
const FIN = 1

/** Why a stream is reset. */
export const ResetCode = { protocolError: 1, refused: 3, cancel: 5 } as const

/** A received frame. The data of a large one comes in pieces, `fin` being told with the last. */
export type Frame =
  | { type: 'synStream'; id: number; fin: boolean; block: Buffer }
  | { type: 'synReply' | 'headers'; id: number; fin: boolean; block: Buffer }
  | { type: 'data'; id: number; fin: boolean; data: Buffer }
  | { type: 'reset'; id: number; code: number }
  | { type: 'ping'; id: number }
  | { type: 'goAway' }

export function dataFrame(id: number, length: number, fin: boolean): Buffer {
  const head = Buffer.alloc(HEAD)
  head.writeUInt32BE(id)
  head.writeUInt32BE(length, 4)
  if (fin) head[4] = FIN
  return head
}

export const synReplyFrame = (id: number, block: Buffer): Buffer => control(TYPES.synReply, words(id), block)
export const resetFrame = (id: number, code: number): Buffer => control(TYPES.reset, words(id, code))
export const pingFrame = (id: number): Buffer => control(TYPES.ping, words(id))
export const goAwayFrame = (lastId: number): Buffer => control(TYPES.goAway, words(lastId, 0))

function control(type: number, ...parts: Buffer[]): Buffer {
  const payload = Buffer.concat(parts)
  const head = Buffer.alloc(HEAD)
  head.writeUInt16BE(0x8003)
  head.writeUInt16BE(type, 2)
  head.writeUInt32BE(payload.length, 4)
  return Buffer.concat([head, payload])
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4)
  return bytes
}

/**
 * Reads frames to the end of the bytes. Types that carry nothing for us are skipped: settings and window updates, which
 * Go's side neither sends nor heeds; TCP is the back-pressure.
 * @throws Error when it is not SPDY/3.1, or a control frame is too large.
 */
export async function* readFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Frame, void> {
  const bytes = createReader(source)
  for (;;) {
    const head = await bytes.exactly(HEAD)
    if (!head) return
    const length = head.readUInt32BE(4) & 0xff_ff_ff
    const fin = (head.readUInt8(4) & FIN) !== 0
    if (head.readUInt8(0) < 0x80) {
      yield* readData(bytes, { id: head.readUInt32BE(0), length, fin })
      continue
    }
    if (head.readUInt16BE(0) !== 0x8003) throw new Error('the client does not speak SPDY/3.1')
    if (length > MAX_CONTROL) throw new Error(`a SPDY control frame of ${length} bytes is too large`)
    const payload = await bytes.exactly(length)
    if (!payload) return
    const frame = controlFrame(head.readUInt16BE(2), fin, payload)
    if (frame) yield frame
  }
}

async function* readData(
  bytes: Reader,
  { id, length, fin }: { id: number; length: number; fin: boolean },
): AsyncGenerator<Frame, void> {
  let left = length
  do {
    const data = await bytes.some(left)
    if (!data) return
    left -= data.length
    yield { type: 'data', id, data, fin: fin && left === 0 }
  } while (left > 0)
}

function controlFrame(type: number, fin: boolean, payload: Buffer): Frame | undefined {
  const id = type === TYPES.goAway || payload.length < 4 ? 0 : payload.readUInt32BE(0) & 0x7f_ff_ff_ff
  switch (type) {
    case TYPES.synStream:
      return { type: 'synStream', id, fin, block: payload.subarray(10) }
    case TYPES.synReply:
    case TYPES.headers:
      return { type: type === TYPES.headers ? 'headers' : 'synReply', id, fin, block: payload.subarray(4) }
    case TYPES.reset:
      return { type: 'reset', id, code: payload.length < 8 ? 0 : payload.readUInt32BE(4) }
    case TYPES.ping:
      return { type: 'ping', id: payload.length < 4 ? 0 : payload.readUInt32BE(0) }
    case TYPES.goAway:
      return { type: 'goAway' }
    default:
      return undefined
  }
}

/** Both are undefined when the bytes end before. */
interface Reader {
  exactly(length: number): Promise<Buffer | undefined>
  /** Between 1 and `most` bytes; none when `most` is 0. */
  some(most: number): Promise<Buffer | undefined>
}

function createReader(source: AsyncIterable<Buffer>): Reader {
  const iterator = source[Symbol.asyncIterator]()
  let rest: Buffer = Buffer.alloc(0)
  const more = async (): Promise<boolean> => {
    const { done, value } = await iterator.next()
    if (done) return false
    rest = rest.length === 0 ? value : Buffer.concat([rest, value])
    return true
  }
  const take = (length: number): Buffer => {
    const taken = rest.subarray(0, length)
    rest = rest.subarray(length)
    return taken
  }
  return {
    exactly: async (length) => {
      while (rest.length < length) if (!(await more())) return undefined
      return take(length)
    },
    some: async (most) => {
      while (rest.length === 0 && most > 0) if (!(await more())) return undefined
      return take(Math.min(most, rest.length))
    },
  }
}
