// DHCP messages as bytes. Pure. @see RFC 2131, RFC 2132, RFC 3396 (long options)
import { addressBytes, addressText } from '@nodelet/linux'

/** Numbers of options. */
export const option = {
  pad: 0,
  subnetMask: 1,
  routers: 3,
  hostName: 12,
  staticRoutes: 33,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  server: 54,
  requested: 55,
  text: 56,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientId: 61,
  userClass: 77,
  classlessRoutes: 121,
  end: 255,
} as const

export const messageType = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7 } as const

export interface DhcpMessage {
  kind: 'request' | 'reply'
  /** Ties answers to questions: 32 bits. */
  transaction: number
  /** Whether the server is to answer to all, for clients that do not take packets before they have an address. */
  broadcast: boolean
  /** What the client has and answers for; 0.0.0.0: nothing. */
  clientAddress: string
  /** What the server gives. */
  yourAddress: string
  /** Six bytes. */
  mac: Buffer
  /** By number; each once, however it was split. */
  options: ReadonlyMap<number, Buffer>
}

const cookie = Buffer.from([99, 130, 83, 99])
const [BOOTREQUEST, BOOTREPLY, ETHERNET, macBytes] = [1, 2, 1, 6]
const BROADCAST = 0x8000
/** Where things are. */
const at = { transaction: 4, flags: 10, client: 12, your: 16, mac: 28, name: 44, file: 108, cookie: 236, options: 240 }
/** Some relays drop what is shorter, as BOOTP was. */
const shortestBytes = 300
const longestPart = 255
/** Bits of the option `overload`: options go on in these fields. */
const overloaded = { file: 1, name: 2 }

export function encodeMessage({
  kind,
  transaction,
  broadcast,
  clientAddress,
  yourAddress,
  mac,
  options,
}: DhcpMessage): Buffer {
  const head = Buffer.alloc(at.options)
  head.set([kind === 'request' ? BOOTREQUEST : BOOTREPLY, ETHERNET, macBytes, 0])
  head.writeUInt32BE(transaction, at.transaction)
  head.writeUInt16BE(broadcast ? BROADCAST : 0, at.flags)
  head.set(addressBytes(clientAddress), at.client)
  head.set(addressBytes(yourAddress), at.your)
  head.set(mac, at.mac)
  head.set(cookie, at.cookie)
  const parts = [...options].flatMap(([code, value]) => encodeOption(code, value))
  const message = Buffer.concat([head, ...parts, Buffer.from([option.end])])
  return message.length >= shortestBytes ? message : Buffer.concat([message], shortestBytes)
}

function encodeOption(code: number, value: Buffer): Buffer[] {
  const count = Math.max(1, Math.ceil(value.length / longestPart))
  return Array.from({ length: count }, (_, index) => {
    const part = value.subarray(index * longestPart, (index + 1) * longestPart)
    return Buffer.concat([Buffer.from([code, part.length]), part])
  })
}

/** Undefined for what is no message of DHCP for Ethernet. */
export function decodeMessage(bytes: Buffer): DhcpMessage | undefined {
  if (bytes.length < at.options || !bytes.subarray(at.cookie, at.options).equals(cookie)) return undefined
  const [kind, hardware, macLength] = bytes
  if (hardware !== ETHERNET || macLength !== macBytes || (kind !== BOOTREQUEST && kind !== BOOTREPLY)) return undefined
  const options = new Map<number, Buffer>()
  if (!takeOptions(bytes.subarray(at.options), options)) return undefined
  const more = options.get(option.overload)?.[0] ?? 0
  options.delete(option.overload)
  if (more & overloaded.file && !takeOptions(bytes.subarray(at.file, at.cookie), options)) return undefined
  if (more & overloaded.name && !takeOptions(bytes.subarray(at.name, at.file), options)) return undefined
  return {
    kind: kind === BOOTREQUEST ? 'request' : 'reply',
    transaction: bytes.readUInt32BE(at.transaction),
    broadcast: (bytes.readUInt16BE(at.flags) & BROADCAST) !== 0,
    clientAddress: addressText(bytes.subarray(at.client, at.client + 4)),
    yourAddress: addressText(bytes.subarray(at.your, at.your + 4)),
    mac: Buffer.from(bytes.subarray(at.mac, at.mac + macBytes)),
    options,
  }
}

/** Values of one number are joined. False when one is longer than the field. */
function takeOptions(field: Buffer, options: Map<number, Buffer>): boolean {
  for (let from = 0; from < field.length;) {
    const code = field[from] ?? option.end
    if (code === option.end) return true
    from += 1
    if (code === option.pad) continue
    const length = field[from]
    if (length === undefined || from + 1 + length > field.length) return false
    const value = field.subarray(from + 1, from + 1 + length)
    options.set(code, Buffer.concat([options.get(code) ?? Buffer.alloc(0), value]))
    from += 1 + length
  }
  return true // some servers leave out the end
}

const addressLength = 4

/** All addresses of an option; what is left over at its end is none. */
export function addressesIn(value: Buffer | undefined): string[] {
  const count = Math.floor((value?.length ?? 0) / addressLength)
  return Array.from({ length: count }, (_, index) =>
    addressText(value!.subarray(index * addressLength, (index + 1) * addressLength)),
  )
}

/** A number of 32 bits; undefined when the option is absent or of another size. */
export const numberIn = (value: Buffer | undefined): number | undefined =>
  value?.length === 4 ? value.readUInt32BE() : undefined
