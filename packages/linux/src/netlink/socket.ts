// A netlink socket of a network namespace: a request in, its answer out.
import { channel } from 'node:diagnostics_channel'
import { closeSync } from 'node:fs'
import { errnoName, LinuxError } from '../errors.ts'
import { call, callSlowly } from '../libc.ts'
import { inNamespace } from '../namespaces.ts'
import { frame, NLM_F, NLMSG_DONE, NLMSG_ERROR, outcomeOf, unframe } from './messages/message.ts'
import type { Message } from './messages/message.ts'

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0x8_0000
const SOL_NETLINK = 270
/** Answers without a copy of the request, with explanations, and dumps that the kernel filters. */
const options = { NETLINK_CAP_ACK: 10, NETLINK_EXT_ACK: 11, NETLINK_GET_STRICT_CHK: 12 }
const MSG_TRUNC = 0x20
const MSG_DONTWAIT = 0x40

/** What the channel `nodelet:linux:netlink` tells of each packet that is sent. */
export interface NetlinkPacket {
  /** 0 for routes and links, 12 for netfilter, 16 for generic netlink. */
  protocol: number
  bytes: number
}

const packets = channel('nodelet:linux:netlink')

export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12
export const NETLINK_GENERIC = 16

/** The kernel makes no larger packets for what we ask. */
const packetBytes = 65_536
/** How often a list is read that changes while it is read. */
const dumpTries = 50
/** Requests in one packet: refusals of them all fit into what a socket may have waiting. */
const requestsAtOnce = 100
const bytesAtOnce = 32_768
const one = Buffer.from([1, 0, 0, 0])
/** For what is read and copied at once. */
const sharedPacket = Buffer.alloc(packetBytes)

/** A failure is the LinuxError `CODE: call path: what the kernel says`. */
export interface Request {
  type: number
  /** NLM_F flags beyond those that every request has. */
  flags?: number
  body: Buffer
  /** What is tried, for instance `create link`. */
  call: string
  /** On what, for instance `cni0`. */
  path: string
  /** What the kernel's refusal is told as, where its number alone does not say it. */
  refusal?(errno: number, answer: Message): LinuxError
}

export interface NetlinkSocket extends Disposable {
  /** The network namespace's path; undefined: this process's. */
  readonly netns: string | undefined
  /** What the kernel answers beside its acknowledgement. @throws LinuxError */
  ask(request: Request): Promise<Message[]>
  /**
   * Many requests that have no answer, few packets for all. The kernel does them in their order and goes on after one that
   * it refuses. Each is taken when its packet is made: those that are made one by one keep the event loop no longer. @returns for each request what it was refused with, or undefined @throws LinuxError when asking fails
   */
  askAll(requests: Iterable<Request>): Promise<(LinuxError | undefined)[]>
  /** A whole list, read again when it changed meanwhile. @throws LinuxError; EAGAIN when it never stood still */
  dump(request: Request): Promise<Message[]>
  /** Each of a list that may be long and that changes all the time: it is read once. */
  each(request: Request, take: (message: Message) => void): Promise<void>
}

/** Opens a descriptor in the namespace at a path, or in this process's. @throws LinuxError */
export function openDescriptor(protocol: number, netns: string | undefined): number {
  const open = (): number => call('socket', 'netlink', AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
  return netns === undefined ? open() : inNamespace('net', netns, open)
}

function openWithOptions(protocol: number, netns: string | undefined): number {
  const fd = openDescriptor(protocol, netns)
  try {
    for (const [name, option] of Object.entries(options))
      call('setsockopt', name, fd, SOL_NETLINK, option, one, one.length)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/**
 * The kernel does what is asked within the call that sends it, and has its answer ready when the call returns. It may
 * wait there for other work on networks, so the call runs on another thread.
 * @param slowDumps whether the kernel may need long for each piece of a list
 * @throws LinuxError
 */
export function openSocket(protocol: number, netns?: string, slowDumps = false): NetlinkSocket {
  const fd = openWithOptions(protocol, netns)
  const packet = slowDumps ? Buffer.alloc(packetBytes) : sharedPacket
  let sequence = 0
  /** Requests are sent one by one: each is over before the next. */
  let last: Promise<unknown> = Promise.resolve()
  let isClosed = false

  const send = async (bytes: Buffer, { call: tried, path }: Pick<Request, 'call' | 'path'>): Promise<void> => {
    if ((await callSlowly('send', fd, bytes, bytes.length, 0)) < 0) throw new LinuxError('EIO', tried, path)
    if (packets.hasSubscribers) packets.publish({ protocol, bytes: bytes.length } satisfies NetlinkPacket)
  }
  const receive = async (path: string, mayWait: boolean): Promise<Message[]> => {
    const flags = MSG_TRUNC | (mayWait ? 0 : MSG_DONTWAIT)
    const size = mayWait
      ? await callSlowly('recv', fd, packet, packet.length, flags)
      : call('recv', path, fd, packet, packet.length, flags)
    if (size < 0) throw new LinuxError('EIO', 'recv', path)
    if (size > packet.length) throw new LinuxError('EMSGSIZE', 'recv', path)
    return unframe(Buffer.from(packet.subarray(0, size)))
  }
  const exchange = async (asked: Request, take: (message: Message) => void): Promise<{ isInterrupted: boolean }> => {
    const { type, flags = 0, body, path } = asked
    sequence += 1
    const own = sequence
    const wanted = flags | NLM_F.REQUEST | NLM_F.ACK
    const request = frame({ type, flags: wanted, sequence: own, data: body })
    await send(request, asked)
    let isInterrupted = false
    for (;;) {
      for (const message of await receive(path, slowDumps)) {
        if (message.sequence !== own) continue // of a request that failed half way
        isInterrupted ||= (message.flags & NLM_F.DUMP_INTR) !== 0
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) take(message)
        else {
          const refused = refusalOf(asked, message)
          if (refused) throw refused
          return { isInterrupted }
        }
      }
    }
  }
  /** Only the last one is acknowledged; of the others the kernel tells those that it refuses. */
  const exchangeAll = async (requests: readonly Request[]): Promise<(LinuxError | undefined)[]> => {
    const refusals = requests.map((): LinuxError | undefined => undefined)
    const first = sequence + 1
    sequence += requests.length
    const end = sequence
    const frames = requests.map(({ type, flags = 0, body }, index) => {
      const wanted = flags | NLM_F.REQUEST | (first + index === end ? NLM_F.ACK : 0)
      return frame({ type, flags: wanted, sequence: first + index, data: body })
    })
    const together = Buffer.concat(frames.flatMap((one) => [one, Buffer.alloc(-one.length & 3)]))
    const { call: tried = '', path = '' } = requests[0] ?? {}
    await send(together, { call: tried, path })
    for (;;) {
      for (const message of await receive(path, slowDumps)) {
        const request = requests[message.sequence - first]
        if (!request || message.type !== NLMSG_ERROR) continue
        refusals[message.sequence - first] = refusalOf(request, message)
        if (message.sequence === end) return refusals
      }
    }
  }
  const inTurn = async <Answer>({ call: tried, path }: Request, work: () => Promise<Answer>): Promise<Answer> => {
    if (isClosed) throw new LinuxError('EBADF', tried, path, 'netlink is closed')
    const turn = last.then(work)
    // Who asked hears of a failure by `turn`; the next one in line goes on.
    last = turn.catch(() => {})
    return turn
  }
  return {
    netns,
    async ask(request) {
      const answers: Message[] = []
      await inTurn(request, async () => exchange(request, (message) => answers.push(message)))
      return answers
    },
    async askAll(requests) {
      const refusals: (LinuxError | undefined)[] = []
      for (const some of packetsOf(requests)) {
        const [head] = some
        if (head) refusals.push(...(await inTurn(head, async () => exchangeAll(some))))
      }
      return refusals
    },
    async dump(request) {
      for (let tries = 1; tries <= dumpTries; tries += 1) {
        const answers: Message[] = []
        const dump = { ...request, flags: NLM_F.DUMP }
        const { isInterrupted } = await inTurn(dump, async () => exchange(dump, (message) => answers.push(message)))
        if (!isInterrupted) return answers
      }
      throw new LinuxError('EAGAIN', request.call, request.path, 'it changed each time while it was read')
    },
    async each(request, take) {
      await inTurn(request, async () => exchange({ ...request, flags: NLM_F.DUMP }, take))
    },
    [Symbol.dispose]() {
      isClosed = true
      // What is on its way still needs the descriptor.
      void last.then(async () => {
        // A netfilter socket waits at its end for whoever is just changing rules.
        if (protocol === NETLINK_NETFILTER) await callSlowly('close', fd)
        else closeSync(fd)
      })
    },
  }
}

function refusalOf(request: Request, answer: Message): LinuxError | undefined {
  const { errno, text } = outcomeOf(answer)
  if (errno === 0) return undefined
  return request.refusal?.(errno, answer) ?? new LinuxError(errnoName(errno), request.call, request.path, text)
}

/** Requests in their order, as many at once as go into a packet. */
function* packetsOf(requests: Iterable<Request>): Generator<Request[]> {
  let some: Request[] = []
  let bytes = 0
  for (const request of requests) {
    if (some.length === requestsAtOnce || bytes + request.body.length > bytesAtOnce) {
      yield some
      some = []
      bytes = 0
    }
    some.push(request)
    bytes += request.body.length
  }
  yield some
}
