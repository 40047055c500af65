// SCTP packets without a kernel that has it: frames of the world outside, as its first packet of an association.
import { setTimeout as sleep } from 'node:timers/promises'
import { addressBytes, openFrames, openNetlink } from '@nodelet/linux'
import type { FilterInstruction } from '@nodelet/linux'

export interface SctpPacket {
  from: string
  sourcePort: number
  to: string
  port: number
}

const sctp = 132
const ethernetBytes = 14
const icmpBytes = 8

/** How each family tells that a port is not reached; the endpoints themselves say that the protocol is not. */
const families = {
  4: { etherType: 0x0800, headBytes: 20, protocolAt: 9, icmp: 1, unreachable: [3, 3] },
  6: { etherType: 0x86dd, headBytes: 40, protocolAt: 6, icmp: 58, unreachable: [1, 4] },
} as const
type Family = (typeof families)[4 | 6]
const familyOf = ({ to }: SctpPacket): Family => families[to.includes(':') ? 6 : 4]

/** Frames that hold ICMP. */
const onlyIcmp = ({ protocolAt, icmp }: Family): FilterInstruction[] => [
  [0x30, 0, 0, ethernetBytes + protocolAt],
  [0x15, 0, 1, icmp],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
]

/** From which port the packet was sent that a frame with an ICMP error quotes; undefined when it says something else. */
function refusedPort(frame: Buffer, { headBytes, unreachable: [type, code] }: Family): number | undefined {
  const at = ethernetBytes + headBytes
  if (frame[at] !== type || frame[at + 1] !== code) return undefined
  return frame.readUInt16BE(at + icmpBytes + headBytes)
}

const ones = (sum: number): number => (sum > 0xffff ? ones((sum & 0xffff) + (sum >>> 16)) : sum)

function internetChecksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  return ~ones(sum) & 0xffff
}

function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}

/** Of the packet's family. */
function packetOf(family: Family, { from, to }: SctpPacket, segment: Buffer): Buffer {
  const addresses = Buffer.concat([addressBytes(from), addressBytes(to)])
  if (family === families[6])
    return Buffer.concat([Buffer.from([0x60, 0, 0, 0, 0, segment.length, sctp, 64]), addresses, segment])
  const head = Buffer.from([0x45, 0, 0, 20 + segment.length, 0, 0, 0, 0, 64, sctp, 0, 0])
  const packet = Buffer.concat([head, addresses, segment])
  packet.writeUInt16BE(internetChecksum(packet.subarray(0, 20)), 10)
  return packet
}

function initOf({ sourcePort, port }: SctpPacket): Buffer {
  const segment = Buffer.alloc(12 + 20)
  segment.writeUInt16BE(sourcePort, 0)
  segment.writeUInt16BE(port, 2)
  segment[12] = 1 // INIT
  segment.writeUInt16BE(20, 14)
  segment.writeUInt32BE(sourcePort, 16) // the tag, any but 0
  segment.writeUInt32BE(0xffff, 20)
  segment.writeUInt16BE(1, 24)
  segment.writeUInt16BE(1, 26)
  segment.writeUInt32BE(1, 28)
  segment.writeUInt32LE(crc32c(segment), 8)
  return segment
}

export interface SctpOptions {
  netns: string
  link: string
  router: string
  /** Milliseconds after the last packet until no more refusals come. */
  patienceMs: number
  /** Ports from which packets should be refused: these are waited for longer. */
  awaited: ReadonlySet<number>
}

/** On a busy machine a refusal may take long. */
const awaitedMs = 10_000

/** Sends each by `link` of `netns` to the machine with this hardware address, and says from which ports they were refused. */
export async function sendSctp(
  packets: readonly SctpPacket[],
  { netns, link, router, patienceMs, awaited }: SctpOptions,
): Promise<Set<number>> {
  using net = openNetlink({ netns })
  const found = await net.links.get(link)
  if (!found?.mac) throw new Error(`no link ${link}`)
  const refused = new Set<number>()
  const all = Promise.withResolvers<void>()
  const look = (): void => {
    if (awaited.isSubsetOf(refused)) all.resolve()
  }
  look()
  const sockets = new Map(
    [...new Set(packets.map(familyOf))].map((family) => {
      const frames = openFrames({ netns, link: found.index, protocol: family.etherType, filter: onlyIcmp(family) })
      frames.on('data', (frame: Buffer) => {
        const port = refusedPort(frame, family)
        if (port !== undefined) refused.add(port)
        look()
      })
      return [family, frames] as const
    }),
  )
  const bytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex')
  const ethernet = Buffer.concat([bytes(router), bytes(found.mac)])
  try {
    for (const packet of packets) {
      const family = familyOf(packet)
      const type = Buffer.alloc(2)
      type.writeUInt16BE(family.etherType)
      const frame = Buffer.concat([ethernet, type, packetOf(family, packet, initOf(packet))])
      await new Promise<void>((resolve, reject) =>
        sockets.get(family)?.write(frame, (error) => (error ? reject(error) : resolve())),
      )
    }
    await sleep(patienceMs)
    await Promise.race([all.promise, sleep(awaitedMs, undefined, { ref: false })])
  } finally {
    for (const frames of sockets.values()) frames.destroy()
  }
  return refused
}
