// All real servers of a network namespace at once, as the kernel prints them: by netlink each virtual server has to be asked for its own.
import { closeSync, createReadStream, openSync } from 'node:fs'
import { addressText } from '@nodelet/linux'
import { eachInTurn, inSlices, type Steps } from '../slices.ts'
import { serverKey, type HeldReal } from './ipvs-plan.ts'
import { inNetns } from './program.ts'

/** What each virtual server has, by `serverKey`. */
export type RealServerTable = ReadonlyMap<string, readonly HeldReal[]>

/** @throws Error where the kernel has no IPVS */
export async function readRealServers(netns: string | undefined): Promise<RealServerTable> {
  // What is open stays that of the namespace.
  const fd = inNetns(netns, () => openSync('/proc/thread-self/net/ip_vs', 'r'))
  const pieces: string[] = []
  try {
    const stream = createReadStream('', { fd, autoClose: false, encoding: 'latin1' })
    for await (const piece of stream) pieces.push(String(piece))
  } finally {
    closeSync(fd)
  }
  return await inSlices(parseTableInTurn(pieces.join('')))
}

const protocols = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' } as const
const realPrefix = '  -> '

/** Lines of another kind, such as those of firewall marks, are passed over with what belongs to them. Pure. */
export function* parseTableInTurn(text: string): Steps<RealServerTable> {
  const table = new Map<string, HeldReal[]>()
  let realServers: HeldReal[] | undefined
  yield* eachInTurn(linesOf(text), (line) => {
    const isReal = line.startsWith(realPrefix)
    const words = line.slice(isReal ? realPrefix.length : 0).split(/ +/, 4)
    const [first = '', second = '', weight] = words
    if (isReal) {
      const server = endpointOf(first)
      if (server && realServers) realServers.push({ ...server, weight: Number(weight) })
      return
    }
    const protocol = protocols[first as keyof typeof protocols]
    const server = endpointOf(second)
    realServers = protocol && server ? [] : undefined
    if (realServers && server) table.set(serverKey({ protocol, ...server }), realServers)
  })
  return table
}

function* linesOf(text: string): Generator<string> {
  for (let from = 0; from < text.length;) {
    const end = text.indexOf('\n', from)
    const to = end < 0 ? text.length : end
    yield text.slice(from, to)
    from = to + 1
  }
}

/** `0A600001:0050`, or `[fd96:0000:0000:0000:0000:0000:0000:0010]:0050` */
function endpointOf(printed: string): { address: string; port: number } | undefined {
  const colon = printed.lastIndexOf(':')
  const port = Number.parseInt(printed.slice(colon + 1), 16)
  const host = printed.slice(0, Math.max(colon, 0))
  if (host.startsWith('[')) return { address: addressText(Buffer.from(host.replaceAll(/[^\da-f]/gi, ''), 'hex')), port }
  const value = Number.parseInt(host, 16)
  if (host.length !== 8 || Number.isNaN(value + port)) return undefined
  return { address: `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`, port }
}
