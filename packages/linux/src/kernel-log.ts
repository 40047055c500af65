// The kernel's log, record by record as they come.
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { Readable } from 'node:stream'
import { call } from './libc.ts'
import { socketFromFd } from './sockets.ts'

const { O_RDONLY, O_NONBLOCK } = constants
const F_DUPFD_CLOEXEC = 1030
const SEEK_END = 2
/** Number of the device: major 1, minor 11. */
const KMSG = (1 << 8) | 11
/** No record is longer (CONSOLE_EXT_LOG_MAX); a shorter buffer would be refused. */
const RECORD_BYTES = 8192

export interface KernelRecord {
  /** Who wrote it: 0 is the kernel alone, programs that write to the device have others. */
  facility: number
  /** Grows by one; a gap is of records that were overwritten before they were read. */
  sequence: number
  text: string
}

export interface KernelLogOptions {
  /** Default `/dev/kmsg`. A named pipe is read as well. */
  path?: string | undefined
  /** Ends the reading. */
  signal?: AbortSignal | undefined
}

/**
 * Reads the records that are written from now on. They wait in the kernel's own ring, which overwrites the oldest.
 * Needs CAP_SYSLOG where `kernel.dmesg_restrict` is set.
 *
 * @throws Error when there is no such log, or it may not be read
 * @see https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg
 */
export async function* followKernelLog(options: KernelLogOptions = {}): AsyncGenerator<KernelRecord, void, undefined> {
  const { path = '/dev/kmsg', signal } = options
  yield* recordsFrom(openLog(path), path, signal)
}

/** The records from the descriptor's place on. Closes it at the end. */
export async function* recordsFrom(
  fd: number,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<KernelRecord, void, undefined> {
  try {
    for (;;) {
      try {
        for await (const read of reads(fd, path, signal)) yield* parseKernelRecords(String(read))
        return
      } catch (error) {
        if (signal?.aborted) return
        // Records were overwritten. The error ended the stream, but the descriptor is now at the oldest record there is.
        if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
      }
    }
  } finally {
    closeSync(fd)
  }
}

function openLog(path: string): number {
  const fd = openSync(path, O_RDONLY | O_NONBLOCK)
  try {
    const stat = fstatSync(fd)
    // Where there is no log, some containers have /dev/null in its place: what cannot be polled would abort the process.
    const isLog = stat.isCharacterDevice() && stat.rdev === KMSG
    if (!isLog && !stat.isFIFO()) throw new Error(`${path} is not the kernel's log`)
    if (isLog) call('lseek', path, fd, 0, SEEK_END)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** What each read gives, one ahead of the reader. A duplicate shares the place in the log, and is closed with the stream. */
function reads(fd: number, path: string, signal: AbortSignal | undefined): Readable {
  const buffer = Buffer.alloc(RECORD_BYTES)
  const socket = socketFromFd(call('fcntl', path, fd, F_DUPFD_CLOEXEC, 0), {
    buffer,
    callback: (length) => stream.push(buffer.toString('utf8', 0, length)),
  })
  const stream = new Readable({
    objectMode: true,
    highWaterMark: 1,
    ...(signal && { signal }),
    read: () => void socket.resume(),
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    },
  })
  socket.on('error', (error) => stream.destroy(error)).once('end', () => stream.push(null))
  return stream
}

/** The records in what was read: `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`. Lines with fields that follow are left out. */
export function parseKernelRecords(read: string): KernelRecord[] {
  return [...read.matchAll(/^(\d+),(\d+),[^;\n]*;(.*)$/gm)].map(([, priority, sequence, text = '']) => ({
    facility: Number(priority) >> 3,
    sequence: Number(sequence),
    text: text.replaceAll(/(?:\\x[\da-f]{2})+/g, (bytes) => Buffer.from(bytes.replaceAll('\\x', ''), 'hex').toString()),
  }))
}
