// Virtual servers of IPVS and the real servers behind them, as messages of the generic netlink family IPVS. Pure.
// @see ipvsadm(8), <linux/ip_vs.h>
import { AF_INET, AF_INET6, addressBytes, addressText } from '../ip.ts'
import { be16, be32, namedBits, names, openNames, s32, string, u16, u32 } from './codec.ts'
import { encodeGeneric, genericHeadBytes } from './generic.ts'
import { decodeBody, nested } from './message.ts'
import type { Attribute } from './message.ts'

export const IPVS_CMD = {
  NEW_SERVICE: 1,
  SET_SERVICE: 2,
  DEL_SERVICE: 3,
  GET_SERVICE: 4,
  NEW_DEST: 5,
  SET_DEST: 6,
  DEL_DEST: 7,
  GET_DEST: 8,
  SET_CONFIG: 12,
  GET_CONFIG: 13,
  GET_INFO: 15,
  FLUSH: 17,
}
const CMD_ATTR = { SERVICE: 1, DEST: 2 }
const TIMEOUT_ATTR = { tcpSeconds: 4, tcpFinSeconds: 5, udpSeconds: 6 } as const
const SVC_ATTR = { AF: 1, PROTOCOL: 2, ADDR: 3, PORT: 4, SCHED_NAME: 6, FLAGS: 7, TIMEOUT: 8, NETMASK: 9 }
const DEST_ATTR = {
  ADDR: 1,
  PORT: 2,
  FWD_METHOD: 3,
  WEIGHT: 4,
  U_THRESH: 5,
  L_THRESH: 6,
  ACTIVE_CONNS: 7,
  INACT_CONNS: 8,
  PERSIST_CONNS: 9,
  ADDR_FAMILY: 11,
}
const INFO_ATTR_VERSION = 1
/** Of `union nf_inet_addr`, whatever the family. */
const addressSize = 16

const protocols = { tcp: 6, udp: 17, sctp: 132 }
export type VirtualProtocol = keyof typeof protocols
const protocol = names(u16, protocols)

/** The bits of the connection's flags that say how packets get to a real server. */
const forwardings = { masquerade: 0, local: 1, tunnel: 2, route: 3, bypass: 4 }
const forwardingMask = 7
export type Forwarding = keyof typeof forwardings
const forwarding = openNames(u32, forwardings)

const serverFlags = namedBits({ onePacket: 0x4, fallback: 0x8, sourcePort: 0x10, schedulerFlag3: 0x20 })
const PERSISTENT = 0x1

/** What names a virtual server; there is one of each in a network namespace. */
export interface VirtualServerKey {
  protocol: VirtualProtocol
  address: string
  port: number
}

export interface VirtualServer extends VirtualServerKey {
  /** Kernel's name of it, for instance `rr`. */
  scheduler: string
  /** A client's connections go where its first one went. */
  persistent?: {
    /** How long this lasts after the client's last connection has ended. */
    seconds: number
    /** Clients whose addresses begin alike for so many bits are one; default: all bits. */
    prefixLength?: number
  }
  /** Each packet is for itself, of UDP. */
  onePacket?: true
  /** Flag of the schedulers sh and mh: clients of a real server that is out go to others. */
  fallback?: true
  /** Flag of the schedulers sh and mh: a client's port counts, too. */
  sourcePort?: true
  schedulerFlag3?: true
}

export interface RealServerKey {
  address: string
  port: number
}

export interface NewRealServer extends RealServerKey {
  /** Share of the connections; 0: it gets no new ones. Default 1. */
  weight?: number
  /** Default `masquerade`, also called NAT. */
  forwarding?: Forwarding
  /** With so many connections it gets no more, until it has fewer than the lower number; default 0: no bounds. */
  upperThreshold?: number
  lowerThreshold?: number
}

export interface RealServer extends RealServerKey {
  weight: number
  /** Number of the method where it has no name here. */
  forwarding: Forwarding | number
  upperThreshold: number
  lowerThreshold: number
  activeConnections: number
  inactiveConnections: number
  /** Clients that are bound to it. */
  persistentConnections: number
}

/** How long connections are kept that are idle. */
export interface IpvsTimeouts {
  tcpSeconds: number
  /** After one side has ended. */
  tcpFinSeconds: number
  udpSeconds: number
}

function addressAttribute(type: number, address: string): Attribute {
  const bytes = addressBytes(address)
  return [type, Buffer.concat([bytes, Buffer.alloc(addressSize - bytes.length)])]
}

const familyOfAddress = (address: string): number => (addressBytes(address).length === 4 ? AF_INET : AF_INET6)

const keyAttributes = ({ protocol: name, address, port }: VirtualServerKey): Attribute[] => [
  [SVC_ATTR.AF, u16.encode(familyOfAddress(address))],
  [SVC_ATTR.PROTOCOL, protocol.encode(name)],
  addressAttribute(SVC_ATTR.ADDR, address),
  [SVC_ATTR.PORT, be16.encode(port)],
]

/** Of IPv4 the kernel wants a mask, of IPv6 a length. */
function encodeNetmask(isFour: boolean, prefixLength = isFour ? 32 : 128): Buffer {
  if (!(prefixLength >= 1 && prefixLength <= (isFour ? 32 : 128)))
    throw new RangeError(`persistent: no prefix of ${prefixLength} bits`)
  return isFour ? be32.encode(2 ** 32 - 2 ** (32 - prefixLength)) : u32.encode(prefixLength)
}

function decodeNetmask(isFour: boolean, content: Buffer): number {
  return isFour ? be32.decode(content).toString(2).replaceAll('0', '').length : u32.decode(content)
}

/** @throws RangeError naming what the server cannot have */
function settingAttributes({ address, scheduler, persistent, ...flags }: VirtualServer): Attribute[] {
  const isFour = familyOfAddress(address) === AF_INET
  const bits = u32.decode(serverFlags.encode(flags)) | (persistent ? PERSISTENT : 0)
  return [
    [SVC_ATTR.SCHED_NAME, string.encode(scheduler)],
    [SVC_ATTR.FLAGS, Buffer.concat([u32.encode(bits), u32.encode(0xffff_ffff)])],
    [SVC_ATTR.TIMEOUT, u32.encode(persistent?.seconds ?? 0)],
    [SVC_ATTR.NETMASK, encodeNetmask(isFour, persistent?.prefixLength)],
  ]
}

export const encodeVirtualServer = (command: number, server: VirtualServer): Buffer =>
  encodeGeneric(command, [[CMD_ATTR.SERVICE, [...keyAttributes(server), ...settingAttributes(server)]]])

/** Asks for what concerns one virtual server. */
export const encodeVirtualServerKey = (command: number, key: VirtualServerKey): Buffer =>
  encodeGeneric(command, [[CMD_ATTR.SERVICE, keyAttributes(key)]])

const realKeyAttributes = ({ address, port }: RealServerKey): Attribute[] => [
  addressAttribute(DEST_ATTR.ADDR, address),
  [DEST_ATTR.PORT, be16.encode(port)],
  [DEST_ATTR.ADDR_FAMILY, u16.encode(familyOfAddress(address))],
]

function realAttributes(server: NewRealServer): Attribute[] {
  const { weight = 1, forwarding: method = 'masquerade', upperThreshold = 0, lowerThreshold = 0 } = server
  return [
    ...realKeyAttributes(server),
    [DEST_ATTR.FWD_METHOD, forwarding.encode(method)],
    [DEST_ATTR.WEIGHT, s32.encode(weight)],
    [DEST_ATTR.U_THRESH, u32.encode(upperThreshold)],
    [DEST_ATTR.L_THRESH, u32.encode(lowerThreshold)],
  ]
}

const withReal = (command: number, of: VirtualServerKey, attributes: Attribute[]): Buffer =>
  encodeGeneric(command, [
    [CMD_ATTR.SERVICE, keyAttributes(of)],
    [CMD_ATTR.DEST, attributes],
  ])

export const encodeRealServer = (command: number, of: VirtualServerKey, server: NewRealServer): Buffer =>
  withReal(command, of, realAttributes(server))

export const encodeRealServerKey = (command: number, of: VirtualServerKey, server: RealServerKey): Buffer =>
  withReal(command, of, realKeyAttributes(server))

/** Undefined for one that is named by a firewall mark, or of another protocol. */
export function decodeVirtualServer(data: Buffer): VirtualServer | undefined {
  const attributes = nested(decodeBody(data, genericHeadBytes), CMD_ATTR.SERVICE)
  const get = (type: number): Buffer => attributes.get(type) ?? Buffer.alloc(addressSize)
  const name = protocol.decode(get(SVC_ATTR.PROTOCOL))
  if (!(name in protocols) || !attributes.has(SVC_ATTR.ADDR)) return undefined
  const family = u16.decode(get(SVC_ATTR.AF))
  const bits = get(SVC_ATTR.FLAGS)
  const persistent = {
    seconds: u32.decode(get(SVC_ATTR.TIMEOUT)),
    prefixLength: decodeNetmask(family === AF_INET, get(SVC_ATTR.NETMASK)),
  }
  return {
    protocol: name,
    address: decodeAddress(family, get(SVC_ATTR.ADDR)),
    port: be16.decode(get(SVC_ATTR.PORT)),
    scheduler: string.decode(attributes.get(SVC_ATTR.SCHED_NAME) ?? Buffer.alloc(0)),
    ...serverFlags.decode(bits),
    ...((u32.decode(bits) & PERSISTENT) !== 0 && { persistent }),
  }
}

const decodeAddress = (family: number, content: Buffer): string =>
  addressText(family === AF_INET ? content.subarray(0, 4) : content)

/** @param of the virtual server, whose family older kernels do not repeat */
export function decodeRealServer(data: Buffer, of: VirtualServerKey): RealServer {
  const attributes = nested(decodeBody(data, genericHeadBytes), CMD_ATTR.DEST)
  const get = (type: number): Buffer => attributes.get(type) ?? Buffer.alloc(addressSize)
  const own = attributes.get(DEST_ATTR.ADDR_FAMILY)
  const method = u32.decode(get(DEST_ATTR.FWD_METHOD)) & forwardingMask
  return {
    address: decodeAddress(own ? u16.decode(own) : familyOfAddress(of.address), get(DEST_ATTR.ADDR)),
    port: be16.decode(get(DEST_ATTR.PORT)),
    weight: s32.decode(get(DEST_ATTR.WEIGHT)),
    forwarding: forwarding.decode(u32.encode(method)),
    upperThreshold: u32.decode(get(DEST_ATTR.U_THRESH)),
    lowerThreshold: u32.decode(get(DEST_ATTR.L_THRESH)),
    activeConnections: u32.decode(get(DEST_ATTR.ACTIVE_CONNS)),
    inactiveConnections: u32.decode(get(DEST_ATTR.INACT_CONNS)),
    persistentConnections: u32.decode(get(DEST_ATTR.PERSIST_CONNS)),
  }
}

const timeoutNames = Object.keys(TIMEOUT_ATTR) as (keyof IpvsTimeouts)[]

/** What is not given, or 0, stays as it is. */
export const encodeTimeouts = (timeouts: Partial<IpvsTimeouts>): Buffer =>
  encodeGeneric(
    IPVS_CMD.SET_CONFIG,
    timeoutNames.map((name) => [TIMEOUT_ATTR[name], u32.encode(timeouts[name] ?? 0)]),
  )

export function decodeTimeouts(data: Buffer): IpvsTimeouts {
  const attributes = decodeBody(data, genericHeadBytes)
  const get = (name: keyof IpvsTimeouts): number => {
    const content = attributes.get(TIMEOUT_ATTR[name])
    return content ? u32.decode(content) : 0
  }
  return { tcpSeconds: get('tcpSeconds'), tcpFinSeconds: get('tcpFinSeconds'), udpSeconds: get('udpSeconds') }
}

/** For instance `1.2.1`. */
export function decodeVersion(data: Buffer): string {
  const version = u32.decode(decodeBody(data, genericHeadBytes).get(INFO_ATTR_VERSION) ?? Buffer.alloc(4))
  return [version >> 16, version >> 8, version].map((part) => part & 0xff).join('.')
}
