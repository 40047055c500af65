// The CRI log format, read back.

const NEWLINE = 0x0a
const BLANK = 0x20

/** The two streams' bytes, each cut at `limit`. */
export interface LogOutput {
  stdout: Buffer
  stderr: Buffer
}

/** Joins the lines of a log: `TIME STREAM P|F CONTENT`, where F ends with a newline and P does not. */
export function parseLog(log: Buffer, limit: number): LogOutput {
  const streams = { stdout: new Bytes(limit), stderr: new Bytes(limit) }
  for (let start = 0; start < log.length;) {
    const end = log.indexOf(NEWLINE, start)
    const line = log.subarray(start, end < 0 ? log.length : end)
    start += line.length + 1
    const head = line.indexOf(BLANK)
    const tag = line.indexOf(BLANK, head + 1)
    const content = line.indexOf(BLANK, tag + 1)
    if (head < 0 || tag < 0 || content < 0) continue // cut off at the size limit
    const stream = line.toString('latin1', head + 1, tag) === 'stderr' ? streams.stderr : streams.stdout
    stream.add(line.subarray(content + 1))
    if (line[tag + 1] === 'F'.charCodeAt(0)) stream.add(Buffer.from('\n'))
  }
  return { stdout: streams.stdout.join(), stderr: streams.stderr.join() }
}

class Bytes {
  readonly #limit: number
  readonly #chunks: Buffer[] = []
  #size = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  add(chunk: Buffer): void {
    const kept = chunk.subarray(0, this.#limit - this.#size)
    this.#size += kept.length
    if (kept.length > 0) this.#chunks.push(kept)
  }

  join(): Buffer {
    return Buffer.concat(this.#chunks, this.#size)
  }
}
