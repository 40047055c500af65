// A container's log file, read from its tail and followed over rotation.
import { watch } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createLogWriter } from './log-writer.ts'
import type { LogOptions } from './log-options.ts'

const CHUNK = 64 << 10
const NEWLINE = 0x0a
/** Repairs a lost event: file systems that tell of no changes. */
const RECHECK_MS = 1000

/** What `readLog` reads. */
export interface LogSource {
  path: string
  options: LogOptions
  /** For `follow`: fulfilled when the container no longer runs. */
  ended: (signal: AbortSignal) => Promise<void>
  /** Aborts when the client leaves. */
  signal: AbortSignal
}

/**
 * What the client is to see, in pieces. With `follow` it goes on until the container ends, through rotations.
 * @throws Error when the file cannot be read
 */
export async function* readLog({ path, options, ended, signal }: LogSource): AsyncGenerator<Buffer, void> {
  const { follow, tailLines } = options
  let file = await open(path)
  const writer = createLogWriter(options, follow ? undefined : tailLines)
  const stopped = new AbortController()
  try {
    const lines = createLines(tailLines === undefined ? 0 : await tailStart(file, tailLines))
    using changes = follow ? watchFile(path) : undefined
    const state = { ended: !follow }
    if (follow) void watchEnd(ended, AbortSignal.any([signal, stopped.signal]), state, () => changes?.wake())
    while (!writer.full && !signal.aborted) {
      const last = state.ended // asked before reading: what was written before the end is seen
      yield* readToEnd(file, lines, writer)
      if (last || writer.full) break
      const next = await openIfRotated(path, file)
      if (next) {
        yield* readToEnd(file, lines, writer) // nobody writes to the old file any more
        yield* rest(lines, writer)
        await file.close()
        file = next
        lines.position = 0
        continue
      }
      await changes?.next(signal)
    }
    yield* rest(lines, writer)
  } finally {
    stopped.abort()
    await file.close()
  }
}

type Writer = ReturnType<typeof createLogWriter>

/** Where the reading stands, and the begun line. */
interface Lines {
  position: number
  begun: Buffer[]
}

const createLines = (position: number): Lines => ({ position, begun: [] })

async function* readToEnd(file: FileHandle, lines: Lines, writer: Writer): AsyncGenerator<Buffer, void> {
  const buffer = Buffer.allocUnsafe(CHUNK)
  while (!writer.full) {
    const { bytesRead } = await file.read(buffer, 0, CHUNK, lines.position)
    if (bytesRead === 0) return
    lines.position += bytesRead
    const shown: Buffer[] = []
    let start = 0
    for (let end = buffer.indexOf(NEWLINE); end >= 0 && end < bytesRead; end = buffer.indexOf(NEWLINE, start)) {
      const line = Buffer.concat([...lines.begun, buffer.subarray(start, end + 1)])
      lines.begun = []
      start = end + 1
      shown.push(writer.write(line))
      if (start >= bytesRead) break
    }
    if (start < bytesRead) lines.begun.push(Buffer.from(buffer.subarray(start, bytesRead)))
    const piece = Buffer.concat(shown)
    if (piece.length > 0) yield piece
  }
}

/** A last line without its newline is shown as it is. */
function* rest(lines: Lines, writer: Writer): Generator<Buffer, void> {
  const line = Buffer.concat(lines.begun)
  lines.begun = []
  const shown = line.length > 0 ? writer.write(line) : line
  if (shown.length > 0) yield shown
}

/** The position of the last `count` lines. */
async function tailStart(file: FileHandle, count: number): Promise<number> {
  const { size } = await file.stat()
  const buffer = Buffer.allocUnsafe(CHUNK)
  let found = 0
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - CHUNK)
    const { bytesRead } = await file.read(buffer, 0, end - start, start)
    for (let at = bytesRead - 1; at >= 0; at--) {
      if (buffer[at] === NEWLINE && found++ === count) return start + at + 1
    }
    end = start
  }
  return 0
}

/** The new file under the old name, if there is one; between rename and reopening there is none. */
async function openIfRotated(path: string, current: FileHandle): Promise<FileHandle | undefined> {
  try {
    const [named, held] = await Promise.all([stat(path), current.stat()])
    return named.ino === held.ino && named.dev === held.dev ? undefined : await open(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Tells of the container's end, once; a failed wait counts as the end, lest a client waits for ever. */
async function watchEnd(
  ended: LogSource['ended'],
  signal: AbortSignal,
  state: { ended: boolean },
  wake: () => void,
): Promise<void> {
  try {
    await ended(signal)
  } catch {
    // the client has left, or nobody knows the container any more: either way nothing will come
  }
  state.ended = true
  wake()
}

interface Changes extends Disposable {
  wake(): void
  /** Waits for a change since the last call. */
  next(signal: AbortSignal): Promise<void>
}

/** Watches the folder: the file itself is replaced by rotations. */
function watchFile(path: string): Changes {
  let changed = Promise.withResolvers<void>()
  const wake = (): void => changed.resolve()
  const watcher = watch(dirname(path), wake)
  watcher.on('error', wake)
  const timer = setInterval(wake, RECHECK_MS)
  return {
    wake,
    next: async (signal) => {
      signal.addEventListener('abort', wake, { once: true })
      if (signal.aborted) wake()
      await changed.promise
      signal.removeEventListener('abort', wake)
      changed = Promise.withResolvers()
    },
    [Symbol.dispose]: () => {
      watcher.close()
      clearInterval(timer)
    },
  }
}
