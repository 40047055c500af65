// A channel client over the ws library.
import { once } from 'node:events'
import { WebSocket } from 'ws'

export interface ChannelClient {
  socket: WebSocket
  /** What came on a channel so far. */
  text(channel: number): string
  channels: number[]
  send(channel: number, data: string | Buffer): void
  /** The close code. */
  closed: Promise<number>
}

export async function channelConnect(url: string, protocols: string[]): Promise<ChannelClient> {
  const socket = new WebSocket(url.replace('http:', 'ws:'), protocols)
  const received = new Map<number, Buffer[]>()
  const channels: number[] = []
  socket.on('message', (data: Buffer) => {
    const base64 = socket.protocol.includes('base64')
    const channel = base64 ? Number(data.toString('latin1', 0, 1)) : (data[0] ?? -1)
    const bytes = base64 ? Buffer.from(data.toString('latin1', 1), 'base64') : data.subarray(1)
    channels.push(channel)
    received.set(channel, [...(received.get(channel) ?? []), bytes])
  })
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  await once(socket, 'open')
  return {
    socket,
    channels,
    closed,
    text: (channel) => Buffer.concat(received.get(channel) ?? []).toString(),
    send: (channel, data) => {
      const bytes = Buffer.from(data)
      if (socket.protocol.includes('base64')) socket.send(`${channel}${bytes.toString('base64')}`)
      else socket.send(Buffer.concat([Buffer.of(channel), bytes]))
    },
  }
}
