// A client at the streams of a container's first process, which conmon holds.
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { connectPackets } from '@nodelet/linux'
import type { TerminalSize } from '@nodelet/linux'
import { requireRunning } from './adapters.ts'
import type { StreamContext } from './adapters.ts'
import type { AttachStreamRequest, StreamIO } from './types.ts'

/** conmon reads no more of a packet. */
const MAX_PACKET = 8 << 10
const STDERR = 3

/**
 * Joins the client with the container's streams: output from now on, input and the terminal's size. Fulfilled when the
 * output has ended or the client has left.
 *
 * @throws CriError NOT_FOUND or FAILED_PRECONDITION; LinuxError when conmon does not listen.
 */
export async function attachTo(
  context: StreamContext,
  { containerId: id, tty }: AttachStreamRequest,
  io: StreamIO,
  signal: AbortSignal,
): Promise<void> {
  requireRunning(context, id)
  signal.throwIfAborted()
  const socket = connectPackets(join(context.folders.sockets, id, 'attach'))
  const onAbort = (): void => void socket.destroy()
  signal.addEventListener('abort', onAbort)
  try {
    if (tty) io.onResize((size) => void resize(join(context.folders.bundles, id), size))
    if (io.stdin) void sendInput(socket, io)
    await passOutput(socket, io)
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.destroy()
  }
}

/** Each packet begins with the number of its stream. */
async function passOutput(socket: Socket, io: StreamIO): Promise<void> {
  const ended = Promise.withResolvers<void>()
  socket.on('data', (packet: Buffer) => {
    const to = packet[0] === STDERR ? io.stderr : io.stdout
    if (!to || to.destroyed || to.write(packet.subarray(1))) return
    socket.pause()
    to.once('drain', () => socket.resume())
  })
  socket.on('error', () => {}) // conmon is gone, and with it the output: 'close' follows
  socket.once('end', ended.resolve).once('close', ended.resolve)
  await ended.promise
}

/** One packet at a time: those that wait together would be sent as one, and cut. */
async function sendInput(socket: Socket, { stdin }: StreamIO): Promise<void> {
  try {
    for await (const chunk of stdin ?? []) {
      const bytes = chunk as Buffer
      for (let offset = 0; offset < bytes.length; offset += MAX_PACKET) {
        await send(socket, bytes.subarray(offset, offset + MAX_PACKET))
      }
    }
    socket.end() // conmon closes the container's input, if it was made so
  } catch {
    stdin?.on('error', () => {}).resume() // conmon or the client is gone, which ends the output, too
  }
}

async function send(socket: Socket, packet: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => socket.write(packet, (error) => (error ? reject(error) : resolve())))
}

async function resize(bundle: string, { rows, columns }: TerminalSize): Promise<void> {
  try {
    await using control = await open(join(bundle, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK)
    await control.write(`1 ${rows} ${columns}\n`)
  } catch {
    // the container has just ended: its terminal needs no size
  }
}
