// SCTP packets without a kernel that has it: frames of the world outside, as its first packet of an association.
import { addressBytes, openFrames, openNetlink } from '@nodelet/linux'

export interface SctpPacket {
  from: string
  sourcePort: number
  to: string
  port: number
}

const sctp = 132
/** IPv4 frames that hold ICMP. */
const onlyIcmp = [
  [0x30, 0, 0, 23],
  [0x15, 0, 1, 1],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
] as const
/** Of the quoted packet's source port, in a frame with an ICMP error. */
const quotedPort = 14 + 20 + 8 + 20

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
  const header = Buffer.from([0x45, 0, 0, 20 + segment.length, 0, 0, 0, 0, 64, sctp, 0, 0])
  const packet = Buffer.concat([header, addressBytes(from), addressBytes(to), segment])
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
  const frames = openFrames({ netns, link: found.index, protocol: 0x0800, filter: [...onlyIcmp] })
  const refused = new Set<number>()
  // Port unreachable; the endpoints themselves say protocol unreachable.
  frames.on('data', (frame: Buffer) => {
    if (frame[34] === 3 && frame[35] === 3) refused.add(frame.readUInt16BE(quotedPort))
  })
  const bytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex')
  const ethernet = Buffer.concat([bytes(router), bytes(found.mac), Buffer.from([0x08, 0])])
  try {
    for (const packet of packets) {
      const frame = Buffer.concat([ethernet, initOf(packet)])
      await new Promise<void>((resolve, reject) => frames.write(frame, (error) => (error ? reject(error) : resolve())))
    }
    await new Promise((resolve) => setTimeout(resolve, patienceMs))
  } finally {
    frames.destroy()
  }
  return refused
}
