// Pseudo-terminals.
import { closeSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { call } from './libc.ts'
import { socketFromFd } from './sockets.ts'

const [O_RDWR, O_NOCTTY, O_CLOEXEC] = [0o2, 0o400, 0o2000000]
const [TIOCSWINSZ, TIOCGPTPEER] = [0x5414, 0x5441]
/** struct termios has 60 bytes on x86-64 and arm64; room for more. */
const TERMIOS_BYTES = 128
/** A terminal gives at most 4 KiB at once. */
const READ_BYTES = 4096
/** Offsets in struct termios of the four flag words. */
const [IFLAG, OFLAG, CFLAG, LFLAG] = [0, 4, 8, 12]

/** In characters. */
export interface TerminalSize {
  columns: number
  rows: number
}

/** A terminal whose one side is held here. */
export interface Pty {
  /** What programs on the other side write, and what they are to read. It ends when the last of them has closed it. */
  readonly master: Duplex
  /** The side for programs, as a file descriptor to inherit. */
  readonly slave: number
  resize(size: TerminalSize): void
  /** Closes this process's slave: to be called once the program has it. */
  releaseSlave(): void
}

/** Makes a pseudo-terminal in raw mode: bytes pass unchanged and without echo. @throws LinuxError */
export function openPty(size?: TerminalSize): Pty {
  const fd = call('posix_openpt', 'a pseudo-terminal', O_RDWR | O_NOCTTY | O_CLOEXEC)
  let slave: number | undefined
  try {
    call('grantpt', 'a pseudo-terminal', fd)
    call('unlockpt', 'a pseudo-terminal', fd)
    slave = call('ioctl', 'the slave of a pseudo-terminal', fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)
    makeRaw(slave)
    if (size) setSize(fd, size)
  } catch (error) {
    closeSync(fd)
    if (slave !== undefined) closeSync(slave)
    throw error
  }
  const master = masterStream(fd)
  let held = true
  return {
    master,
    slave,
    resize: (next) => {
      if (!master.destroyed) setSize(fd, next)
    },
    releaseSlave: () => {
      if (held) closeSync(slave)
      held = false
    },
  }
}

function setSize(fd: number, { columns, rows }: TerminalSize): void {
  const winsize = new Uint16Array([rows, columns, 0, 0])
  call('ioctlWith', 'the size of a pseudo-terminal', fd, TIOCSWINSZ, new Uint8Array(winsize.buffer))
}

/** As cfmakeraw(3). */
function makeRaw(fd: number): void {
  const bytes = new Uint8Array(TERMIOS_BYTES)
  call('tcgetattr', 'a pseudo-terminal', fd, bytes)
  const words = new DataView(bytes.buffer)
  const change = (offset: number, clear: number, set = 0): void =>
    words.setUint32(offset, (words.getUint32(offset, true) & ~clear) | set, true)
  change(IFLAG, 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000) // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
  change(OFLAG, 0o1 | 0o4) // OPOST ONLCR: some turn the first on again
  change(LFLAG, 0o10 | 0o100 | 0o2 | 0o1 | 0o100000) // ECHO ECHONL ICANON ISIG IEXTEN
  change(CFLAG, 0o60 | 0o400, 0o60) // CSIZE PARENB, then CS8
  call('tcsetattr', 'a pseudo-terminal', fd, 0, bytes)
}

/**
 * The master as a stream. A terminal ends by the error EIO, which would drop what is still buffered: so nothing is read
 * ahead of the reader, and EIO is the end.
 */
function masterStream(fd: number): Duplex {
  const socket = socketFromFd(fd, {
    buffer: Buffer.alloc(READ_BYTES),
    callback: (length, bytes) => stream.push(Buffer.from(bytes.subarray(0, length))),
  })
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (data: Buffer, _encoding, done) => void socket.write(data, done),
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    },
  })
  const end = (): void => void stream.push(null)
  socket.once('end', end)
  socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EIO' ? end() : stream.destroy(error)))
  return stream
}
