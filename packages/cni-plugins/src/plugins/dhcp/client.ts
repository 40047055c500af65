// What a client says to servers, and what it takes for their answer. Pure. @see RFC 2131 sections 3 and 4.4
import { addressBytes } from '@nodelet/linux'
import type { Lease } from './lease.ts'
import { messageType, option } from './message.ts'
import type { DhcpMessage } from './message.ts'

/** Who asks. */
export interface Client {
  mac: Buffer
  /** The option `dhcp-client-identifier`. */
  id: Buffer
  /** Options to tell, by number. */
  provide: ReadonlyMap<number, Buffer>
  /** Numbers of options to ask for. */
  request: readonly number[]
  /** Whether servers are to answer to all. */
  broadcast: boolean
}

const anyAddress = '0.0.0.0'
const plain = (address: string): string => address.split('/')[0] ?? ''

function from(
  { mac, id, provide, request, broadcast }: Client,
  type: keyof typeof messageType,
  transaction: number,
  clientAddress: string,
  own: [number, Buffer][],
): DhcpMessage {
  const isAsking = type !== 'release'
  const options = new Map<number, Buffer>([
    [option.messageType, Buffer.from([messageType[type]])],
    [option.clientId, id],
    ...own,
    ...(isAsking ? provide : []),
    ...(isAsking && request.length > 0 ? [[option.requested, Buffer.from(request)] as const] : []),
  ])
  const yourAddress = anyAddress
  return { kind: 'request', transaction, broadcast: broadcast && isAsking, clientAddress, yourAddress, mac, options }
}

/** Who is there? */
export const discover = (client: Client, transaction: number): DhcpMessage =>
  from(client, 'discover', transaction, anyAddress, [])

/** I take that offer. */
export const requestOffer = (
  client: Client,
  transaction: number,
  { yourAddress, options }: DhcpMessage,
): DhcpMessage => {
  const server = options.get(option.server)
  return from(client, 'request', transaction, anyAddress, [
    [option.requestedAddress, addressBytes(yourAddress)],
    ...(server ? [[option.server, server] as [number, Buffer]] : []),
  ])
}

/** I want to keep what I have. */
export const requestMore = (client: Client, transaction: number, { address }: Lease): DhcpMessage =>
  from(client, 'request', transaction, plain(address), [])

/** I do not need it any more. */
export const release = (client: Client, transaction: number, { address, server }: Lease): DhcpMessage =>
  from(client, 'release', transaction, plain(address), [[option.server, addressBytes(server.address)]])

/** The type of a server's answer to that question; undefined for what is none. */
export function answerType({ transaction, mac }: DhcpMessage, answer: DhcpMessage): number | undefined {
  if (answer.kind !== 'reply' || answer.transaction !== transaction || !answer.mac.equals(mac)) return undefined
  return answer.options.get(option.messageType)?.[0]
}

/** In one byte the longest is 255, and its first is the type: 0 is a name of our own making. */
const longestId = 254

/** What tells this pod's interface apart. */
export const clientId = (name: string): Buffer =>
  Buffer.concat([Buffer.from([0]), Buffer.from(name).subarray(0, longestId)])
