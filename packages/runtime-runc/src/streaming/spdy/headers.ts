// Header blocks of SPDY/3.1: names and values, compressed in one zlib stream per direction.
import { constants, createDeflate, createInflate } from 'node:zlib'
import type { Deflate, Inflate } from 'node:zlib'
import { headerDictionary } from './dictionary.ts'

const MAX_BLOCK = 256 << 10

/** Header names in lower case. */
export type Headers = Readonly<Record<string, string>>

/** One direction's blocks. Calls must follow the order of the frames, each after the end of the one before. */
export interface HeaderCodec<From, To> {
  code(block: From): Promise<To>
  /** Frees zlib's memory. */
  close(): void
}

export function headerInflater(): HeaderCodec<Buffer, Headers> {
  const inflate = createInflate({ dictionary: headerDictionary, flush: constants.Z_SYNC_FLUSH })
  inflate.on('error', () => {}) // told by the call that meets it
  return { code: async (block) => decodeHeaders(await pass(inflate, block)), close: () => void inflate.destroy() }
}

export function headerDeflater(): HeaderCodec<Headers, Buffer> {
  const deflate = createDeflate({ dictionary: headerDictionary, flush: constants.Z_SYNC_FLUSH })
  deflate.on('error', () => {}) // told by the call that meets it
  return { code: (headers) => pass(deflate, encodeHeaders(headers)), close: () => void deflate.destroy() }
}

/** Passes one block through zlib; with a sync flush all of it comes out before the write is called back. */
async function pass(zlib: Inflate | Deflate, block: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  const done = Promise.withResolvers<void>()
  const take = (): void => {
    for (let chunk = zlib.read() as Buffer | null; chunk; chunk = zlib.read() as Buffer | null) {
      chunks.push(chunk)
      length += chunk.length
    }
    if (length > MAX_BLOCK) done.reject(new Error(`a header block is larger than ${MAX_BLOCK} bytes`))
  }
  zlib.on('readable', take).once('error', done.reject)
  try {
    zlib.write(block, () => {
      take()
      done.resolve()
    })
    await done.promise
    return Buffer.concat(chunks)
  } finally {
    zlib.off('readable', take).off('error', done.reject)
  }
}

export function encodeHeaders(headers: Headers): Buffer {
  const entries = Object.entries(headers)
  const parts = [uint32(entries.length)]
  for (const text of entries.flat()) {
    const bytes = Buffer.from(text)
    parts.push(uint32(bytes.length), bytes)
  }
  return Buffer.concat(parts)
}

/** @throws Error when the block is cut short. */
export function decodeHeaders(block: Buffer): Headers {
  let offset = 0
  const next = (): number => {
    if (offset + 4 > block.length) throw new Error('a header block is cut short')
    offset += 4
    return block.readUInt32BE(offset - 4)
  }
  const text = (): string => {
    const length = next()
    if (offset + length > block.length) throw new Error('a header block is cut short')
    offset += length
    return block.toString('utf8', offset - length, offset)
  }
  const headers: Record<string, string> = {}
  for (let left = next(); left > 0; left--) headers[text().toLowerCase()] = text()
  return headers
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
