// What a container has written, read back from its log.
import { createReadStream } from 'node:fs'
import { parseLog } from '../log.ts'

const NEWLINE = 0x0a
/** A piece so small that its parsing is not felt. */
const piece = 256 << 10

/** The two streams as text, each cut at `limit` bytes. */
export interface Output {
  stdout: string
  stderr: string
}

export async function readOutput(file: string, limit: number): Promise<Output> {
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  const room = { stdout: limit, stderr: limit }
  const take = (log: Buffer): void => {
    const parsed = parseLog(log, Math.max(room.stdout, room.stderr))
    for (const name of ['stdout', 'stderr'] as const) {
      const kept = parsed[name].subarray(0, room[name])
      room[name] -= kept.length
      if (kept.length > 0) chunks[name].push(kept)
    }
  }
  let rest = Buffer.alloc(0)
  for await (const chunk of createReadStream(file, { highWaterMark: piece }) as AsyncIterable<Buffer>) {
    const log = Buffer.concat([rest, chunk])
    const end = log.lastIndexOf(NEWLINE) + 1
    take(log.subarray(0, end))
    rest = log.subarray(end)
    if (room.stdout === 0 && room.stderr === 0) break
  }
  take(rest)
  const text = (name: 'stdout' | 'stderr'): string => Buffer.concat(chunks[name]).toString()
  return { stdout: text('stdout'), stderr: text('stderr') }
}
