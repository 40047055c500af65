// Messages of the channel protocols over WebSocket.

/** Channels of exec and attach. */
export const Channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const

/** What is spoken for commands. A client that offers none speaks `channel.k8s.io`. */
export const webSocketCommandProtocols = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
] as const

/** A protocol's ways. */
export interface ChannelProtocol {
  base64: boolean
  /** Whether a message can close one channel. */
  closes: boolean
  /** Whether the status is JSON. */
  jsonStatus: boolean
}

export function channelProtocol(name: string): ChannelProtocol {
  return { base64: name.includes('base64'), closes: name.startsWith('v5.'), jsonStatus: /^v[45]\./.test(name) }
}

/** A message to the client: text for base64, else bytes. */
export function encodeMessage(channel: number, data: Buffer, { base64 }: ChannelProtocol): Buffer | string {
  return base64 ? `${channel}${data.toString('base64')}` : Buffer.concat([Buffer.of(channel), data])
}

/** A message from the client; undefined when it is empty. */
export function decodeMessage(
  message: Buffer,
  { base64 }: ChannelProtocol,
): { channel: number; data: Buffer } | undefined {
  const first = message[0]
  if (first === undefined) return undefined
  if (!base64) return { channel: first, data: message.subarray(1) }
  return { channel: first - 0x30, data: Buffer.from(message.toString('latin1', 1), 'base64') }
}
