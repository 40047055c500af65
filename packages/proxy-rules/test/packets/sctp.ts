// SCTP packets without a kernel that has it: frames of the world outside, as its first packet of an association.
import { addressBytes, openFrames, openNetlink, type FilterInstruction } from '@nodelet/linux'
import { families } from './places.ts'

export interface SctpPacket {
  from: string
  sourcePort: number
  to: string
  port: number
}

const sctp = 132
/** How a family carries it: EtherType, what frames are read, and where in one of a refusal its words and the quoted source port are. */
const carriers = {
  IPv4: {
    etherType: 0x0800,
    headerBytes: 20,
    /** Frames that hold ICMP. */
    filter: onlyNext(23, 1),
    /** Destination unreachable: port; the endpoints themselves say protocol. */
    refusal: { at: 14 + 20, type: 3, code: 3 },
  },
  IPv6: { etherType: 0x86dd, headerBytes: 40, filter: onlyNext(20, 58), refusal: { at: 14 + 40, type: 1, code: 4 } },
} as const

/** Frames with this number of a protocol at this place. */
function onlyNext(at: number, protocol: number): FilterInstruction[] {
  return [
    [0x30, 0, 0, at],
    [0x15, 0, 1, protocol],
    [0x06, 0, 0, 0xffff],
    [0x06, 0, 0, 0],
  ]
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

function initOf({ from, sourcePort, to, port }: SctpPacket): Buffer {
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
  const addresses = Buffer.concat([addressBytes(from), addressBytes(to)])
  if (from.includes(':')) {
    const header = Buffer.from([0x60, 0, 0, 0, 0, segment.length, sctp, 64])
    return Buffer.concat([header, addresses, segment])
  }
  const header = Buffer.from([0x45, 0, 0, 20 + segment.length, 0, 0, 0, 0, 64, sctp, 0, 0])
  const packet = Buffer.concat([header, addresses, segment])
  packet.writeUInt16BE(internetChecksum(packet.subarray(0, 20)), 10)
  return packet
}

/** Sends each by `link` of `netns` to the machine with this hardware address, and says from which ports they were refused. */
export async function sendSctp(
  packets: readonly SctpPacket[],
  { netns, link, router, patienceMs }: { netns: string; link: string; router: string; patienceMs: number },
): Promise<Set<number>> {
  using net = openNetlink({ netns })
  const found = await net.links.get(link)
  if (!found?.mac) throw new Error(`no link ${link}`)
  const bytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex')
  const refused = new Set<number>()
  const streams = families.map((family) => {
    const { etherType, headerBytes, filter, refusal } = carriers[family]
    const frames = openFrames({ netns, link: found.index, protocol: etherType, filter })
    frames.on('data', (frame: Buffer) => {
      const { at, type, code } = refusal
      if (frame[at] === type && frame[at + 1] === code) refused.add(frame.readUInt16BE(at + 8 + headerBytes))
    })
    const ethernet = Buffer.concat([bytes(router), bytes(found.mac ?? ''), Buffer.alloc(2)])
    ethernet.writeUInt16BE(etherType, 12)
    return { frames, ethernet, own: packets.filter(({ from }) => from.includes(':') === (family === 'IPv6')) }
  })
  try {
    for (const { frames, ethernet, own } of streams)
      for (const packet of own) {
        const frame = Buffer.concat([ethernet, initOf(packet)])
        await new Promise<void>((resolve, reject) =>
          frames.write(frame, (error) => (error ? reject(error) : resolve())),
        )
      }
    await new Promise((resolve) => setTimeout(resolve, patienceMs))
  } finally {
    for (const { frames } of streams) frames.destroy()
  }
  return refused
}
