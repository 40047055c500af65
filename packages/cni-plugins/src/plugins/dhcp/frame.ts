// DHCP's frames: Ethernet, IPv4 and UDP around a message. Pure. @see RFC 791, RFC 768
import { addressBytes, addressText } from '@nodelet/linux'
import type { FilterInstruction } from '@nodelet/linux'

export const IPV4 = 0x0800
const UDP = 17
const [SERVER_PORT, CLIENT_PORT] = [67, 68]
const [etherBytes, ipBytes, udpBytes] = [14, 20, 8]
const timeToLive = 64
/** Offset of a fragment, and whether more follow. */
const FRAGMENT = 0x3fff

/** An end of a frame. */
export interface Endpoint {
  mac: Buffer
  address: string
}

/** All hosts of the link. */
export const everybody: Endpoint = { mac: Buffer.alloc(6, 0xff), address: '255.255.255.255' }

/** A message from a client to a server. */
export function frameOf(from: Endpoint, to: Endpoint, message: Buffer): Buffer {
  const frame = Buffer.alloc(etherBytes + ipBytes + udpBytes + message.length)
  frame.set(to.mac, 0)
  frame.set(from.mac, 6)
  frame.writeUInt16BE(IPV4, 12)
  const ip = frame.subarray(etherBytes)
  ip.writeUInt8(0x45, 0) // version 4, five words
  ip.writeUInt16BE(ip.length, 2)
  ip.writeUInt8(timeToLive, 8)
  ip.writeUInt8(UDP, 9)
  ip.set(addressBytes(from.address), 12)
  ip.set(addressBytes(to.address), 16)
  ip.writeUInt16BE(checksum(ip.subarray(0, ipBytes)), 10)
  const udp = ip.subarray(ipBytes)
  udp.writeUInt16BE(CLIENT_PORT, 0)
  udp.writeUInt16BE(SERVER_PORT, 2)
  udp.writeUInt16BE(udp.length, 4)
  udp.set(message, udpBytes)
  const pseudo = Buffer.concat([ip.subarray(12, 20), Buffer.from([0, UDP, udp.length >> 8, udp.length & 0xff])])
  udp.writeUInt16BE(checksum(Buffer.concat([pseudo, udp])) || 0xffff, 6) // zero would say that there is none
  return frame
}

/**
 * What a server sent to a client; undefined for anything else. UDP's checksum is not looked at: between namespaces of one
 * machine the kernel leaves it to a network card that never comes.
 */
export function messageIn(frame: Buffer): { from: Endpoint; message: Buffer } | undefined {
  if (frame.length < etherBytes + ipBytes + udpBytes || frame.readUInt16BE(12) !== IPV4) return undefined
  const packet = frame.subarray(etherBytes)
  const [headBytes, length] = [(packet.readUInt8(0) & 0xf) * 4, packet.readUInt16BE(2)]
  const isOurs = packet.readUInt8(0) >> 4 === 4 && packet.readUInt8(9) === UDP && !(packet.readUInt16BE(6) & FRAGMENT)
  if (!isOurs || headBytes < ipBytes || length < headBytes + udpBytes || length > packet.length) return undefined
  if (checksum(packet.subarray(0, headBytes)) !== 0) return undefined
  const udp = packet.subarray(headBytes, length)
  const size = udp.readUInt16BE(4)
  if (udp.readUInt16BE(0) !== SERVER_PORT || udp.readUInt16BE(2) !== CLIENT_PORT) return undefined
  if (size < udpBytes || size > udp.length) return undefined
  return {
    from: { mac: Buffer.from(frame.subarray(6, 12)), address: addressText(packet.subarray(12, 16)) },
    message: Buffer.from(udp.subarray(udpBytes, size)),
  }
}

/** The Internet's sum, zero over what holds its own. @see RFC 1071 */
export function checksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

/** Instructions of classic BPF. */
const bpf = {
  loadByte: 0x30,
  loadHalf: 0x28,
  loadHalfAtX: 0x48,
  loadHeadLength: 0xb1,
  ifEqual: 0x15,
  ifAny: 0x45,
  end: 0x06,
}
const nothing = 0

/** In the kernel: of all that a pod gets, only UDP to the client's port, and no fragments. */
export const toClients: readonly FilterInstruction[] = [
  [bpf.loadByte, 0, 0, etherBytes + 9],
  [bpf.ifEqual, 0, 6, UDP],
  [bpf.loadHalf, 0, 0, etherBytes + 6],
  [bpf.ifAny, 4, 0, FRAGMENT],
  [bpf.loadHeadLength, 0, 0, etherBytes],
  [bpf.loadHalfAtX, 0, 0, etherBytes + 2],
  [bpf.ifEqual, 0, 1, CLIENT_PORT],
  [bpf.end, 0, 0, 0xffff],
  [bpf.end, 0, 0, nothing],
]
