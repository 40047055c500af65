// Sockets of kinds and in places that node:net does not open.
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { SocketConstructorOpts } from 'node:net'
import { call } from './libc.ts'
import { inNamespace } from './namespaces.ts'

const families = { IPv4: 2, IPv6: 10 } as const
const [AF_UNIX, SOCK_STREAM, SOCK_SEQPACKET] = [1, 1, 5]
const [SOCK_CLOEXEC, SOCK_NONBLOCK] = [0o2000000, 0o4000]
/** Of struct sockaddr_un. */
const PATH_BYTES = 108

/** What libuv's pipes offer beyond `node:net`'s types; they take any descriptor that can be polled. */
interface PipeHandle {
  open(fd: number): number
}
interface PipeModule {
  Pipe: new (kind: number) => PipeHandle
  constants: { SOCKET: number }
}

/** How bytes are taken as they are read: a callback that returns false stops the reading until `resume`. */
export interface ReadInto {
  buffer: Buffer
  callback(length: number, buffer: Uint8Array): boolean
}

/** A stream over a descriptor of any kind that can be polled: `new net.Socket({ fd })` refuses terminals and packets. */
export function socketFromFd(fd: number, onread?: ReadInto): Socket {
  const { Pipe, constants } = (process as unknown as { binding(name: 'pipe_wrap'): PipeModule }).binding('pipe_wrap')
  const handle = new Pipe(constants.SOCKET)
  const failed = handle.open(fd)
  if (failed !== 0) throw new Error(`descriptor ${fd} cannot be polled: libuv error ${failed}`)
  const options = {
    handle,
    allowHalfOpen: true,
    manualStart: true, // nothing is read, or lost, before somebody listens
    onread,
  }
  return new Socket(options as unknown as SocketConstructorOpts)
}

/** A unix socket's address as the kernel takes it; a name that begins with `@` is in the abstract namespace. */
export function unixAddress(path: string): Uint8Array {
  const name = Buffer.from(path)
  if (name.length >= PATH_BYTES) throw new Error(`${path} is too long for a unix socket: ${name.length} bytes`)
  const abstract = path.startsWith('@')
  if (abstract) name[0] = 0
  // An abstract name is as long as the address says, a path ends with a zero.
  const address = new Uint8Array(2 + name.length + (abstract ? 0 : 1))
  address[0] = AF_UNIX // the family is two bytes, little endian, on all machines that we run on
  address.set(name, 2)
  return address
}

/**
 * Connects to a unix socket that keeps packets apart (SOCK_SEQPACKET). Each `data` event is a packet, and so is each
 * write that waited for the one before.
 * @throws LinuxError
 */
export function connectPackets(path: string): Socket {
  const address = unixAddress(path)
  const fd = call('socket', path, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
  try {
    call('connect', path, fd, address, address.length)
    return socketFromFd(fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/**
 * A TCP socket that lives in a pinned network namespace, or in this one without a path. It is not connected yet: call
 * its `connect`.
 * @throws LinuxError
 */
export function tcpSocket(family: 'IPv4' | 'IPv6', netns?: string): Socket {
  const open = (): number =>
    call('socket', netns ?? 'own network', families[family], SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
  const fd = netns === undefined ? open() : inNamespace('net', netns, open)
  // Without manualStart the socket would be read, and fail, before it is connected.
  const options: SocketConstructorOpts & { manualStart: boolean } = { fd, allowHalfOpen: true, manualStart: true }
  return new Socket(options)
}
