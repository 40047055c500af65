// Extended header records. @see POSIX pax, "pax Extended Header"

/** What the records of one entry say; the order matters only for the oldest form of sparse files. */
export interface PaxRecords {
  records: Map<string, Buffer>
  /** Offset and length of each piece, one after the other. */
  sparse: number[]
}

/** @throws Error when they are cut off or malformed */
export function parseRecords(bytes: Buffer): PaxRecords {
  const records = new Map<string, Buffer>()
  const sparse: number[] = []
  for (let at = 0; at < bytes.length;) {
    const blank = bytes.indexOf(' ', at)
    const digits = blank < 0 ? '' : bytes.toString('latin1', at, blank)
    const length = /^\d{1,9}$/.test(digits) ? Number(digits) : 0
    const equals = bytes.indexOf('=', blank)
    const end = at + length
    if (length === 0 || equals < 0 || equals >= end || end > bytes.length || bytes[end - 1] !== 0x0a) {
      throw new Error('an extended header that is cut off or malformed')
    }
    const key = bytes.toString('utf8', blank + 1, equals)
    const value = bytes.subarray(equals + 1, end - 1)
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') sparse.push(integerOf(key, value))
    if (value.length === 0) records.delete(key)
    else records.set(key, value)
    at = end
  }
  return { records, sparse }
}

/** @throws Error naming the record */
export function integerOf(key: string, value: Uint8Array): number {
  const text = Buffer.from(value).toString('latin1')
  const number = Number(text)
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(number)) return number
  throw new Error(`extended header: ${key} is ${JSON.stringify(text)}, not a whole number`)
}

/** Seconds with any number of digits after the point, as nanoseconds. @throws Error naming the record */
export function timeOf(key: string, value: Uint8Array): bigint {
  const text = Buffer.from(value).toString('latin1')
  const parts = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(text)
  if (!parts) throw new Error(`extended header: ${key} is ${JSON.stringify(text)}, not a time`)
  const [, sign, seconds = '0', fraction = ''] = parts
  const time = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return sign === '-' ? -time : time
}
