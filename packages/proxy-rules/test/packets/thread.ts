// Lives in one network namespace, which it was born in: its servers say who they are, its probes what they are answered.
import { createSocket } from 'node:dgram'
import type { Socket as UdpSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { parentPort } from 'node:worker_threads'
import { placeAt } from './places.ts'
import type { Answer, Done, Listener, Order, Probe, Reply } from './messages.ts'

/** A burst overruns a server's buffer: what is not answered is sent again, as the same flow. */
const resendMs = 250
const startedAtOnce = 48

const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '')

function listen({ name, address, port }: Listener): Promise<unknown> {
  const reply = (peer: string | undefined, own?: string): string =>
    JSON.stringify({ server: name ?? `${placeAt(plain(own))}:${port}`, peer: plain(peer) })
  const tcp = createServer((socket) => {
    const say = (): void => void socket.write(reply(socket.remoteAddress, socket.localAddress))
    // Clients leave by a reset.
    socket.on('error', () => {}).on('data', say)
    say()
  })
  const listening = new Promise<void>((resolve) => tcp.listen({ port, host: address, backlog: 4096 }, resolve))
  if (name === undefined) return listening
  const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  udp.on('message', (_, from) => udp.send(reply(from.address), from.port, from.address))
  return Promise.all([listening, new Promise<void>((resolve) => udp.bind(port, address, resolve))])
}

const kept = new Map<string, Socket | UdpSocket>()

const failure = ({ code }: NodeJS.ErrnoException): Answer => {
  if (code === 'ECONNREFUSED') return 'refused'
  // For instance EHOSTUNREACH: nobody refused, nobody answered.
  return 'silence'
}

function exchangeTcp(probe: Probe, done: (answer: Answer) => void): void {
  const { from, sourcePort, to, port, keep, kind } = probe
  const known = keep === undefined ? undefined : (kept.get(keep) as Socket | undefined)
  const socket = known ?? connect({ host: to, port, localAddress: from, localPort: sourcePort })
  const end = (answer: Answer): void => {
    clearTimeout(timer)
    socket.removeAllListeners().on('error', () => {})
    if (keep === undefined || answer === 'silence') socket.resetAndDestroy()
    else kept.set(keep, socket)
    done(answer)
  }
  const timer = setTimeout(() => end('silence'), probe.patienceMs)
  socket.on('error', (error) => end(failure(error)))
  socket.on('data', (text) => {
    const [, status] = /^HTTP\/1\.1 (\d+)/.exec(String(text)) ?? []
    end(kind === 'http' ? { server: status ?? '', peer: '' } : (JSON.parse(String(text)) as Reply))
  })
  if (known) known.write('?')
  if (kind === 'http') socket.on('connect', () => socket.write('GET / HTTP/1.1\r\nhost: node\r\n\r\n'))
}

function exchangeUdp(probe: Probe, done: (answer: Answer) => void): void {
  const { from, sourcePort, to, port, keep, isIPv6 } = probe
  const known = keep === undefined ? undefined : (kept.get(keep) as UdpSocket | undefined)
  const socket = known ?? createSocket(isIPv6 ? 'udp6' : 'udp4')
  let isOver = false
  const end = (answer: Answer): void => {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    clearInterval(resending)
    socket.removeAllListeners().on('error', () => {})
    if (keep === undefined) socket.close()
    else kept.set(keep, socket)
    done(answer)
  }
  // What is refused or dropped on its way out is an error here, and may be told once more.
  const send = (): void => socket.send('?', (error) => error && failure(error) === 'refused' && end('refused'))
  let timer: NodeJS.Timeout | undefined
  let resending: NodeJS.Timeout | undefined
  const begin = (): void => {
    send()
    // On a busy machine it may take long until the first one is on its way.
    timer = setTimeout(() => end('silence'), probe.patienceMs)
    resending = setInterval(send, resendMs)
  }
  socket.on('error', (error) => end(failure(error as NodeJS.ErrnoException)))
  socket.on('message', (text) => end(JSON.parse(String(text)) as Reply))
  if (known) return begin()
  socket.bind(sourcePort, from, () => socket.connect(port, to, begin))
}

async function exchangeAll(probes: readonly Probe[]): Promise<Answer[]> {
  const answers: Promise<Answer>[] = []
  for (const [index, probe] of probes.entries()) {
    if (index % startedAtOnce === 0) await new Promise(setImmediate)
    const exchange = probe.kind === 'udp' ? exchangeUdp : exchangeTcp
    answers.push(new Promise((resolve) => exchange(probe, resolve)))
  }
  return Promise.all(answers)
}

parentPort?.on('message', (order: Order) => {
  const work = async (): Promise<Answer[]> => {
    if ('probes' in order) return exchangeAll(order.probes)
    await Promise.all(order.listen.map(listen))
    return []
  }
  void work().then((answers) => {
    const done: Done = { id: order.id, answers }
    parentPort?.postMessage(done)
  })
})
