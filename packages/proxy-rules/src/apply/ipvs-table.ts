// All real servers of a network namespace at once, as the kernel prints them: by netlink each virtual server has to be asked for its own.
import { closeSync, createReadStream, openSync } from 'node:fs'
import { addressText, type RealServer, type VirtualServerKey } from '@nodelet/linux'
import { eachInTurn, inSlices, type Steps } from '../slices.ts'
import { realKey, serverKey } from './ipvs-plan.ts'
import { inNetns } from './program.ts'

/** What each virtual server has, by {@link serverKey}: the weight of each real server, by {@link realKey}. */
export type WeightTable = ReadonlyMap<string, ReadonlyMap<string, RealServer['weight']>>

/** @throws Error where the kernel has no IPVS */
export async function readWeights(netns: string | undefined): Promise<WeightTable> {
  // What is open stays that of the namespace.
  const fd = inNetns(netns, () => openSync('/proc/thread-self/net/ip_vs', 'r'))
  const pieces: string[] = []
  try {
    for await (const piece of createReadStream('', { fd, autoClose: false, encoding: 'latin1' }))
      pieces.push(String(piece))
  } finally {
    closeSync(fd)
  }
  return await inSlices(parseWeightsInTurn(pieces.join('')))
}

const serverLine = /^(TCP|UDP|SCTP) +(\S+):([\dA-F]{4}) /
const realLine = /^ {2}-> (\S+):([\dA-F]{4}) +\S+ +(\d+) /

/** Lines of another kind, such as those of firewall marks, are passed over with what belongs to them. Pure. */
export function* parseWeightsInTurn(text: string): Steps<WeightTable> {
  const table = new Map<string, Map<string, number>>()
  let weights: Map<string, number> | undefined
  yield* eachInTurn(text.split('\n'), (line) => {
    const [, printed, port = '', weight] = realLine.exec(line) ?? []
    if (printed !== undefined) {
      weights?.set(realKey({ address: addressOf(printed), port: Number.parseInt(port, 16) }), Number(weight))
      return
    }
    const [, protocol, address = '', number = ''] = serverLine.exec(line) ?? []
    weights = protocol === undefined ? undefined : new Map()
    if (!weights) return
    const key = {
      protocol: protocol?.toLowerCase() as VirtualServerKey['protocol'],
      address: addressOf(address),
      port: Number.parseInt(number, 16),
    }
    table.set(serverKey(key), weights)
  })
  return table
}

/** `0A600001`, or `[fd96:0000:0000:0000:0000:0000:0000:0010]` */
const addressOf = (printed: string): string => addressText(Buffer.from(printed.replaceAll(/[^\da-f]/gi, ''), 'hex'))
