// The extended header records of a tar as bytes: attributes such as capabilities are no text, and the tar reader gives
// text only. @see POSIX pax, "pax Extended Header"
const blockSize = 512
/** Records are names and attributes; more than this is an attack. Bytes. */
const longestRecords = 1024 * 1024

export interface PaxReader {
  /** The tar, chunk by chunk. */
  push(chunk: Uint8Array): void
  /** The records of the entry whose content begins at this offset of the tar; once. */
  take(offset: number): Map<string, Buffer> | undefined
}

export function createPaxReader(): PaxReader {
  const found = new Map<number, Map<string, Buffer>>()
  let offset = 0
  /** Bytes of content to let pass. */
  let skip = 0
  /** What is being gathered: a block of a header, or records. */
  let wanted = blockSize
  let inRecords = false
  let parts: Uint8Array[] = []
  let have = 0
  let records: Map<string, Buffer> | undefined

  const gathered = (): void => {
    const bytes = Buffer.concat(parts)
    parts = []
    have = 0
    if (inRecords) {
      skip = padding(bytes.length)
      records = parseRecords(bytes)
      inRecords = false
      wanted = blockSize
      return
    }
    if (bytes.every((byte) => byte === 0)) return
    const type = String.fromCharCode(bytes[156] ?? 0)
    const size = numberAt(bytes, 124, 12)
    if (type === 'x') {
      if (size > longestRecords) throw new Error(`extended header of ${size} bytes: at most ${longestRecords}`)
      inRecords = size > 0
      wanted = inRecords ? size : blockSize
      return
    }
    // Long names and global records come between an entry's records and itself.
    if (type === 'g' || type === 'L' || type === 'K' || type === 'N') {
      skip = size + padding(size)
      return
    }
    if (records) found.set(offset, records)
    const real = type === '5' ? 0 : Number(records?.get('size')?.toString() ?? size)
    records = undefined
    skip = real + padding(real)
  }

  return {
    push: (chunk) => {
      for (let at = 0; at < chunk.length;) {
        if (skip > 0) {
          const passed = Math.min(skip, chunk.length - at)
          skip -= passed
          at += passed
          offset += passed
          continue
        }
        const taken = chunk.subarray(at, at + wanted - have)
        parts.push(taken)
        have += taken.length
        at += taken.length
        offset += taken.length
        if (have === wanted) gathered()
      }
    },
    take: (at) => {
      const one = found.get(at)
      found.delete(at)
      return one
    },
  }
}

const padding = (size: number): number => (blockSize - (size % blockSize)) % blockSize

/** Octal digits, or base 256 when the first bit is set. */
function numberAt(block: Buffer, at: number, length: number): number {
  const field = block.subarray(at, at + length)
  if ((field[0] ?? 0) & 0x80) return field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0)
  return Number.parseInt(field.toString('latin1').replaceAll('\0', ' ').trim() || '0', 8)
}

function parseRecords(bytes: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>()
  for (let at = 0; at < bytes.length;) {
    const blank = bytes.indexOf(' ', at)
    const length = blank < 0 ? Number.NaN : Number(bytes.toString('latin1', at, blank))
    const equals = bytes.indexOf('=', blank)
    if (!Number.isInteger(length) || length <= 0 || equals < 0 || equals >= at + length || at + length > bytes.length) {
      throw new Error('an extended header that is cut off or malformed')
    }
    records.set(bytes.toString('utf8', blank + 1, equals), bytes.subarray(equals + 1, at + length - 1))
    at += length
  }
  return records
}
