// The streaming client that the validation suite is given: SPDY, as kubectl's.
import type { StreamClient } from '@nodelet/cri-api/testing'
import { eventually } from '../../../cri-api/src/testing/suite-checks.ts'
import { spdyConnect } from '../streaming/spdy-client.ts'
import type { ClientStream, SpdyClient } from '../streaming/spdy-client.ts'

async function command(url: string, names: string[]): Promise<[SpdyClient, Record<string, ClientStream>]> {
  const client = await spdyConnect(url, { 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' })
  if (client.status !== 101) throw new Error(`${url}: ${client.head}`)
  const streams: Record<string, ClientStream> = {}
  for (const name of names) streams[name] = await client.open({ streamtype: name })
  await eventually('all streams are open', async () => Object.values(streams).every(({ replied }) => replied))
  return [client, streams]
}

function exitCodeOf(text: string): number {
  if (text === '') return 0
  const status = JSON.parse(text) as { status: string; details?: { causes?: { reason: string; message: string }[] } }
  if (status.status === 'Success') return 0
  const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')
  if (!cause) throw new Error(text)
  return Number(cause.message)
}

export const spdyStreams: StreamClient = {
  async exec(url, { stdin, tty = false }) {
    const isOpen = stdin !== undefined || tty
    const names = ['error', ...(isOpen ? ['stdin'] : []), 'stdout', tty ? 'resize' : 'stderr']
    const [client, streams] = await command(url, names)
    if (stdin !== undefined) streams['stdin']?.write(stdin, true)
    const outputs = names.filter((name) => name !== 'stdin' && name !== 'resize').map((name) => streams[name])
    await eventually('the command ends', async () => client.closed || outputs.every((one) => one?.finished))
    client.socket.destroy()
    const text = (name: string): string => streams[name]?.text() ?? ''
    return { stdout: text('stdout'), stderr: text('stderr'), exitCode: exitCodeOf(text('error')) }
  },
  async attach(url, text, expected) {
    const [client, streams] = await command(url, ['error', 'stdin', 'stdout', 'stderr'])
    try {
      streams['stdin']?.write(text)
      const output = (): string => streams['stdout']?.text() ?? ''
      await eventually('the output comes', async () => output().includes(expected))
      streams['stdin']?.write('', true)
      await eventually('the streams end', async () => streams['stdout']?.finished || client.closed)
      return output()
    } finally {
      client.socket.destroy()
    }
  },
  async portForward(url, port, text) {
    const client = await spdyConnect(url, { 'X-Stream-Protocol-Version': 'portforward.k8s.io' })
    if (client.status !== 101) throw new Error(`${url}: ${client.head}`)
    try {
      const headers = { port: String(port), requestid: '0' }
      const error = await client.open({ streamtype: 'error', ...headers })
      const data = await client.open({ streamtype: 'data', ...headers })
      await eventually('the streams are open', async () => error.replied && data.replied)
      data.write(text)
      await eventually('the answer ends', async () => data.finished || error.finished || client.closed)
      return data.text()
    } finally {
      client.socket.destroy()
    }
  },
}
