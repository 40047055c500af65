// Questions to DHCP servers over a link of a pod, and their answers.
import { randomInt } from 'node:crypto'
import { openFrames, openNetlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { answerType, discover, release, requestMore, requestOffer } from './client.ts'
import type { Client } from './client.ts'
import { everybody, frameOf, IPV4, messageIn, toClients } from './frame.ts'
import type { Endpoint } from './frame.ts'
import { leaseOf } from './lease.ts'
import type { Lease } from './lease.ts'
import { decodeMessage, encodeMessage, messageType, option } from './message.ts'
import type { DhcpMessage } from './message.ts'

/** A link of a pod, by which its server is reached. */
export interface PodLink {
  netns: string
  index: number
  mac: string
}

/** The server refuses what is asked for. */
export class RefusedError extends CniError {}

/** @throws CniError when there is no such link */
export async function findLink(netns: string, name: string): Promise<PodLink> {
  using netlink = openNetlink({ netns })
  const link = await netlink.links.get(name)
  if (link?.mac === undefined) throw new CniError(cniCode.internal, `error looking up "${name}": Link not found`)
  return { netns, index: link.index, mac: link.mac }
}

/** How long a link may take until it carries traffic, in milliseconds. */
const linkPatienceMs = 2_000

/** What is sent before it carries traffic is lost. One that never says so is used all the same. */
export async function bringUp({ netns, index }: PodLink, signal: AbortSignal): Promise<void> {
  using netlink = openNetlink({ netns })
  await netlink.links.set(index, { up: true })
  const patience = AbortSignal.timeout(linkPatienceMs)
  try {
    await netlink.links.untilOperational(index, AbortSignal.any([signal, patience]))
  } catch (error) {
    if (!patience.aborted) throw error
  }
}

export const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex')
const macText = (mac: Buffer): string => mac.toString('hex').replaceAll(/..(?=.)/g, '$&:')
const newTransaction = (): number => randomInt(2 ** 32)
const nobody = '0.0.0.0'
/** How long an answer may take until the question is sent again, in milliseconds: frames get lost. */
const repeatMs = 2_000

export interface Patience {
  /** For each answer, in milliseconds. */
  timeoutMs: number
  signal: AbortSignal
}

/** Asks for an address until it is given. @throws CniError when no server answers, or refuses; the signal's reason */
export async function acquire(link: PodLink, client: Client, patience: Patience): Promise<Lease> {
  using wire = openWire(link)
  const transaction = newTransaction()
  const { answer: offer } = await wire.ask(discover(client, transaction), everybody, [messageType.offer], patience)
  const request = requestOffer(client, transaction, offer)
  return await granted(wire, request, everybody, patience)
}

/**
 * Asks for more time: the server that gave the lease, or any.
 * @throws RefusedError when the lease is over; CniError when nobody answers, or with another address
 */
export async function prolong(
  link: PodLink,
  client: Client,
  { lease, anybody }: { lease: Lease; anybody: boolean },
  patience: Patience,
): Promise<Lease> {
  using wire = openWire(link)
  const next = await granted(
    wire,
    requestMore(client, newTransaction(), lease),
    anybody ? everybody : giver(lease),
    patience,
  )
  if (next.address === lease.address) return next
  throw new CniError(cniCode.internal, `the DHCP server gives ${next.address} in place of ${lease.address}`)
}

/**
 * Gives the address back. Servers do not answer, so it goes two ways: as the lease came, maybe over routers, and to all of the link,
 * should the server have another MAC by now. Once it is given back, the second one is nothing to the server.
 */
export async function giveBack(link: PodLink, client: Client, lease: Lease): Promise<void> {
  using wire = openWire(link)
  const message = release(client, newTransaction(), lease)
  await wire.send(message, giver(lease))
  await wire.send(message, { ...giver(lease), mac: everybody.mac })
}

const giver = ({ server: { address, mac } }: Lease): Endpoint => ({ address, mac: macBytes(mac) })

async function granted(wire: Wire, request: DhcpMessage, to: Endpoint, patience: Patience): Promise<Lease> {
  const askedMs = Date.now()
  const { answer, mac } = await wire.ask(request, to, [messageType.ack, messageType.nak], patience)
  if (answerType(request, answer) === messageType.ack) return leaseOf(answer, askedMs, macText(mac))
  const text = answer.options.get(option.text)?.toString() ?? 'it does not say why'
  throw new RefusedError(cniCode.internal, `the DHCP server refuses: ${text}`)
}

interface Wire extends Disposable {
  send(message: DhcpMessage, to: Endpoint): Promise<void>
  /** Sends and waits for an answer of one of the types. */
  ask(
    message: DhcpMessage,
    to: Endpoint,
    types: readonly number[],
    patience: Patience,
  ): Promise<{ answer: DhcpMessage; mac: Buffer }>
}

/** Open only while something is asked: at rest a lease costs no frames. */
function openWire({ netns, index, mac }: PodLink): Wire {
  const frames = openFrames({ netns, link: index, protocol: IPV4, filter: toClients })
  const ended = Promise.withResolvers<never>()
  ended.promise.catch(() => undefined) // whoever waits hears of it
  frames.on('error', (error) => ended.reject(error))
  let onFrame: ((frame: Buffer) => void) | undefined
  // One listener for good: a stream without any stands still.
  frames.on('data', (frame: Buffer) => onFrame?.(frame))
  const send = async (message: DhcpMessage, to: Endpoint): Promise<void> => {
    // To all, it comes from nobody: others may not answer to an address that is not theirs to know.
    const address = to === everybody && message.clientAddress === nobody ? nobody : message.clientAddress
    const frame = frameOf({ mac: macBytes(mac), address }, to, encodeMessage(message))
    const sent = Promise.withResolvers<void>()
    frames.write(frame, (error) => (error ? sent.reject(error) : sent.resolve()))
    await Promise.race([sent.promise, ended.promise])
  }
  return {
    send,
    ask: async (message, to, types, { timeoutMs, signal }) => {
      signal.throwIfAborted()
      const answered = Promise.withResolvers<{ answer: DhcpMessage; mac: Buffer }>()
      onFrame = (frame) => {
        const { from, message: bytes } = messageIn(frame) ?? {}
        const answer = bytes && decodeMessage(bytes)
        if (!from || !answer || !types.includes(answerType(message, answer) ?? 0)) return
        answered.resolve({ answer, mac: from.mac })
      }
      const again = setInterval(() => void send(message, to).catch(answered.reject), repeatMs)
      const give = (): void => answered.reject(signal.reason as Error)
      const late = setTimeout(() => {
        answered.reject(new CniError(cniCode.tryAgain, `no DHCP server answered within ${timeoutMs / 1000} s`))
      }, timeoutMs)
      signal.addEventListener('abort', give, { once: true })
      try {
        await send(message, to)
        return await Promise.race([answered.promise, ended.promise])
      } finally {
        onFrame = undefined
        signal.removeEventListener('abort', give)
        clearTimeout(late)
        clearInterval(again)
        answered.promise.catch(() => undefined) // sending failed first
      }
    },
    [Symbol.dispose]: () => {
      ended.reject(new Error('the wire is closed'))
      frames.destroy()
    },
  }
}
