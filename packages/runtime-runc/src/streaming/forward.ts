// A stream joined with a port inside a sandbox's network.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { tcpSocket } from '@nodelet/linux'

/** How long the other direction may go on when one has ended. */
const HALF_CLOSED_MS = 1000
const CONNECT_TIMEOUT_MS = 30_000

/** Where to: localhost there. Without `netns` it is the node's own network. */
export interface ForwardTarget {
  port: number
  netns?: string
}

/** Connects and passes bytes both ways until either side has ended. @throws Error when nothing listens there. */
export async function forwardTo(target: ForwardTarget, stream: Duplex, signal: AbortSignal): Promise<void> {
  const socket = await dial(target, signal)
  const onAbort = (): void => void socket.destroy()
  signal.addEventListener('abort', onAbort)
  try {
    socket.on('error', () => {}) // a reset ends it as well
    const closed = new Promise<void>((resolve) => socket.once('close', resolve))
    const halfClosed = (): void => void setTimeout(() => socket.destroy(), HALF_CLOSED_MS).unref()
    socket.once('end', halfClosed)
    stream.pipe(socket)
    socket.pipe(stream)
    stream.once('close', () => socket.destroy())
    await closed
    stream.unpipe(socket)
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.destroy()
  }
}

async function dial(target: ForwardTarget, signal: AbortSignal): Promise<Socket> {
  try {
    return await connect(target, 'IPv4', signal)
  } catch (cause) {
    signal.throwIfAborted()
    return await connect(target, 'IPv6', signal).catch(() => {
      throw cause // the first failure says more: most programs listen on IPv4, too
    })
  }
}

async function connect({ port, netns }: ForwardTarget, family: 'IPv4' | 'IPv6', signal: AbortSignal): Promise<Socket> {
  const socket = tcpSocket(family, netns)
  try {
    const connected = once(socket, 'connect', {
      signal: AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)]),
    })
    socket.connect(port, family === 'IPv4' ? '127.0.0.1' : '::1')
    await connected
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}
