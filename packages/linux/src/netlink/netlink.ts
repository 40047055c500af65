// Links, addresses and routes of a network namespace, over rtnetlink. Needs root (CAP_NET_ADMIN).
import { closeSync, openSync } from 'node:fs'
import { constants } from 'node:os'
import { createNetlink } from 'netlink'
import { requestSlowly } from './slow-request.ts'
import { LinuxError } from '../errors.ts'
import { inNamespace } from '../namespaces.ts'
import { AF_INET, addressText, parsePrefix } from './ip.ts'
import { addressHead, decode, encode, linkHead, macOf, routeHead, text, textOf, u32, u8 } from './message.ts'
import type { Attribute } from './message.ts'

const flag = { create: 0x400, exclusive: 0x200, dump: 0x300, replace: 0x100 }
const message = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  setLink: 19,
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
}
const up = 1
const AF_BRIDGE = 7
const mainTable = 254
const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))
/** The kernel answers within the call; only a lost answer takes this long, in milliseconds. */
const patienceMs = 10_000

export interface Link {
  index: number
  name: string
  up: boolean
  /** Kernel's kind, for instance `bridge`; absent for physical links and lo. */
  kind?: string
  mac?: string
  mtu: number
  /** Index of the bridge it is a port of. */
  master?: number
  /** Index of the other end, which may be in another namespace. */
  peer?: number
  /** Whether it carries traffic (RFC 2863 operational state up). */
  operational: boolean
}

export interface Address {
  index: number
  /** For instance `10.0.0.1/24`. */
  address: string
}

export interface Route {
  /** For instance `10.0.0.0/24`; `0.0.0.0/0` and `::/0` are defaults. */
  destination: string
  gateway?: string
  /** Link index. */
  index?: number
  scope: number
}

/** A socket in one network namespace. Failures are LinuxErrors such as `EEXIST: create link cni0`. */
export interface Netlink extends Disposable {
  links(): Promise<Link[]>
  /** Undefined when there is none of that name. */
  link(name: string): Promise<Link | undefined>
  createBridge(name: string, options?: { mtu?: number }): Promise<void>
  /** Makes both ends at once; the peer is born in the namespace at `peerNetns`, and is down. */
  createVeth(
    name: string,
    peer: { name: string; netns?: string; mac?: string },
    options?: { mtu?: number },
  ): Promise<void>
  /** Deletes a link and its veth peer; fine when there is none. */
  deleteLink(name: string): Promise<void>
  /** Fulfilled when the link carries traffic. */
  untilOperational(name: string, signal: AbortSignal): Promise<void>
  setUp(name: string): Promise<void>
  setDown(name: string): Promise<void>
  setMaster(name: string, bridge: string): Promise<void>
  setMac(name: string, mac: string): Promise<void>
  setMtu(name: string, mtu: number): Promise<void>
  /** The link must be down on older kernels. */
  rename(name: string, to: string): Promise<void>
  /** Moves a link into the namespace pinned at a path: it is down there and has no address. */
  moveTo(name: string, netns: string): Promise<void>
  /** Lets a bridge port send back what came from it. */
  setHairpin(name: string, on: boolean): Promise<void>
  addresses(): Promise<Address[]>
  /** `address` with its prefix, for instance `10.0.0.1/24`. */
  addAddress(name: string, address: string): Promise<void>
  deleteAddress(name: string, address: string): Promise<void>
  /** Of the main table. */
  routes(): Promise<Route[]>
  addRoute(route: { destination: string; gateway?: string; link?: string }): Promise<void>
  deleteRoute(route: { destination: string; gateway?: string; link?: string }): Promise<void>
}

/** Opens a socket in this process's namespace, or in the one pinned at a path. @throws LinuxError */
export function openNetlink({ netns }: { netns?: string } = {}): Netlink {
  const open = (): ReturnType<typeof createNetlink> => createNetlink(0)
  const socket = netns === undefined ? open() : inNamespace('net', netns, open)

  const ask = async (
    type: number,
    what: string,
    body: Buffer,
    flags = 0,
  ): Promise<{ type: number; data: Buffer }[]> => {
    const [answers] = await socket.request(type, body, { flags, timeout: patienceMs, checkError: false })
    for (const { type: kind, data } of answers) {
      if (kind !== 2) continue
      const errno = -data.readInt32LE(0)
      if (errno !== 0) throw new LinuxError(errnoNames.get(errno) ?? `errno ${errno}`, 'netlink', what)
    }
    return answers
  }
  const change = async (type: number, what: string, body: Buffer, flags = 0): Promise<void> =>
    void (await ask(type, what, body, flags))
  const dump = async <T>(
    type: number,
    what: string,
    head: Buffer,
    parse: (data: Buffer) => T | undefined,
  ): Promise<T[]> => {
    const answers = await ask(type, what, head, flag.dump)
    return answers.flatMap(({ type: kind, data }) => (kind > 3 ? (parse(data) ?? []) : []))
  }

  const link = async (name: string): Promise<Link | undefined> => {
    try {
      const [answer] = await ask(
        message.getLink,
        `get link ${name}`,
        Buffer.concat([linkHead(), encode([[3, text(name)]])]),
      )
      return answer && parseLink(answer.data)
    } catch (error) {
      if (error instanceof LinuxError && error.code === 'ENODEV') return undefined
      throw error
    }
  }
  const indexOf = async (name: string): Promise<number> => {
    const found = await link(name)
    if (!found) throw new LinuxError('ENODEV', 'netlink', `link ${name}`)
    return found.index
  }
  const set = async (name: string, what: string, attributes: readonly Attribute[]): Promise<void> =>
    change(
      message.setLink,
      `${what} of link ${name}`,
      Buffer.concat([linkHead(), encode([[3, text(name)], ...attributes])]),
    )
  const setFlag = async (name: string, on: boolean): Promise<void> => {
    const head = linkHead(await indexOf(name), { flags: on ? up : 0, change: up })
    await change(message.newLink, `set link ${name} ${on ? 'up' : 'down'}`, head)
  }
  const create = async (name: string, attributes: readonly Attribute[]): Promise<void> => {
    const body = Buffer.concat([linkHead(), encode([[3, text(name)], ...attributes])])
    await change(message.newLink, `create link ${name}`, body, flag.create | flag.exclusive)
  }
  const addressBody = async (name: string, address: string): Promise<Buffer> => {
    const { family, bytes, length } = parsePrefix(address)
    const isLoopback = family === AF_INET ? bytes[0] === 127 : bytes.equals(parsePrefix('::1').bytes)
    const attributes: Attribute[] = [[1, bytes]]
    if (family === AF_INET) {
      attributes.push([2, bytes])
      if (length < 31) attributes.push([4, broadcastOf(bytes, length)])
    }
    const hostScope = 254
    return Buffer.concat([
      addressHead(await indexOf(name), family, length, isLoopback ? hostScope : 0),
      encode(attributes),
    ])
  }
  const routeBody = async ({ destination, gateway, link: name }: RouteInput): Promise<Buffer> => {
    const { family, bytes, length } = parsePrefix(destination)
    const attributes: Attribute[] = length === 0 ? [] : [[1, bytes]]
    if (gateway !== undefined) attributes.push([5, parsePrefix(gateway).bytes])
    if (name !== undefined) attributes.push([4, u32(await indexOf(name))])
    const linkScope = 253
    const fields = {
      family,
      prefix: length,
      table: mainTable,
      protocol: 3,
      scope: gateway === undefined ? linkScope : 0,
    }
    return Buffer.concat([routeHead(fields), encode(attributes)])
  }
  const nameRoute = ({ destination, gateway, link: name }: RouteInput): string =>
    `route ${destination}${gateway ? ` via ${gateway}` : ''}${name ? ` dev ${name}` : ''}`

  return {
    links: async () => dump(message.getLink, 'list links', linkHead(), parseLink),
    link,
    createBridge: async (name, { mtu } = {}) =>
      create(name, [...(mtu ? [[4, u32(mtu)] as const] : []), [18, [[1, text('bridge')]]]]),
    createVeth: async (name, peer, { mtu } = {}) => {
      const fd = peer.netns === undefined ? undefined : openSync(peer.netns, 'r')
      try {
        const size: Attribute[] = mtu ? [[4, u32(mtu)]] : []
        const other: Attribute[] = [[3, text(peer.name)], ...size]
        if (fd !== undefined) other.push([28, u32(fd)])
        if (peer.mac !== undefined) other.push([1, Buffer.from(peer.mac.replaceAll(':', ''), 'hex')])
        const data: Attribute[] = [[1, Buffer.concat([linkHead(), encode(other)])]]
        await create(name, [
          ...size,
          [
            18,
            [
              [1, text('veth')],
              [2, data],
            ],
          ],
        ])
      } finally {
        if (fd !== undefined) closeSync(fd)
      }
    },
    deleteLink: async (name) => {
      try {
        await requestSlowly(
          netns,
          message.delLink,
          `delete link ${name}`,
          Buffer.concat([linkHead(), encode([[3, text(name)]])]),
        )
      } catch (error) {
        if (!(error instanceof LinuxError && error.code === 'ENODEV')) throw error
      }
    },
    untilOperational: async (name, signal) => {
      const watching = netns === undefined ? open() : inNamespace('net', netns, open)
      const changed = { wake: (): void => {} }
      const wake = (): void => changed.wake()
      watching.on('message', wake)
      watching.addMembership(1) // RTNLGRP_LINK
      watching.ref(true)
      signal.addEventListener('abort', wake)
      try {
        for (;;) {
          const next = new Promise<void>((resolve) => (changed.wake = resolve))
          const found = await link(name)
          if (found?.operational) return
          if (!found) throw new LinuxError('ENODEV', 'netlink', `link ${name}`)
          signal.throwIfAborted()
          await next
        }
      } finally {
        signal.removeEventListener('abort', wake)
        watching.close()
      }
    },
    setUp: async (name) => setFlag(name, true),
    setDown: async (name) => setFlag(name, false),
    setMaster: async (name, bridge) => set(name, `master ${bridge}`, [[10, u32(await indexOf(bridge))]]),
    setMac: async (name, mac) => set(name, `address ${mac}`, [[1, Buffer.from(mac.replaceAll(':', ''), 'hex')]]),
    setMtu: async (name, mtu) => set(name, `MTU ${mtu}`, [[4, u32(mtu)]]),
    rename: async (name, to) =>
      change(
        message.setLink,
        `rename link ${name} to ${to}`,
        Buffer.concat([linkHead(await indexOf(name)), encode([[3, text(to)]])]),
      ),
    moveTo: async (name, path) => {
      const fd = openSync(path, 'r')
      try {
        await set(name, `namespace ${path}`, [[28, u32(fd)]])
      } finally {
        closeSync(fd)
      }
    },
    setHairpin: async (name, on) => {
      const head = linkHead(await indexOf(name), { family: AF_BRIDGE })
      const body = Buffer.concat([head, encode([[12, [[4, u8(on ? 1 : 0)]]]])])
      await change(message.setLink, `hairpin of link ${name}`, body)
    },
    addresses: async () => dump(message.getAddress, 'list addresses', addressHead(0, 0, 0, 0), parseAddress),
    addAddress: async (name, address) =>
      change(
        message.newAddress,
        `add address ${address} to ${name}`,
        await addressBody(name, address),
        flag.create | flag.exclusive,
      ),
    deleteAddress: async (name, address) =>
      change(message.delAddress, `delete address ${address} of ${name}`, await addressBody(name, address)),
    routes: async () =>
      dump(
        message.getRoute,
        'list routes',
        routeHead({ family: 0, prefix: 0, table: 0, protocol: 0, scope: 0 }),
        parseRoute,
      ),
    addRoute: async (route) =>
      change(message.newRoute, `add ${nameRoute(route)}`, await routeBody(route), flag.create | flag.exclusive),
    deleteRoute: async (route) => change(message.delRoute, `delete ${nameRoute(route)}`, await routeBody(route)),
    [Symbol.dispose]: () => socket.close(),
  }
}

interface RouteInput {
  destination: string
  gateway?: string
  link?: string
}

function broadcastOf(bytes: Buffer, length: number): Buffer {
  const host = 2 ** (32 - length) - 1
  const address = Buffer.alloc(4)
  address.writeUInt32BE((bytes.readUInt32BE() | host) >>> 0)
  return address
}

function parseLink(data: Buffer): Link {
  const attributes = decode(data.subarray(16))
  const info = attributes.get(18)
  const kind = info && textOf(decode(info).get(1))
  const mac = macOf(attributes.get(1))
  const operationalUp = 6
  return {
    index: data.readInt32LE(4),
    name: textOf(attributes.get(3)),
    up: (data.readUInt32LE(8) & up) !== 0,
    ...(kind && { kind }),
    ...(mac !== undefined && { mac }),
    mtu: attributes.get(4)?.readUInt32LE() ?? 0,
    ...(attributes.has(10) && { master: attributes.get(10)?.readUInt32LE() ?? 0 }),
    ...(attributes.has(5) && { peer: attributes.get(5)?.readUInt32LE() ?? 0 }),
    operational: attributes.get(16)?.[0] === operationalUp,
  }
}

function parseAddress(data: Buffer): Address | undefined {
  const attributes = decode(data.subarray(8))
  const bytes = attributes.get(2) ?? attributes.get(1)
  return bytes && { index: data.readUInt32LE(4), address: `${addressText(bytes)}/${data.readUInt8(1)}` }
}

function parseRoute(data: Buffer): Route | undefined {
  const attributes = decode(data.subarray(12))
  if ((attributes.get(15)?.readUInt32LE() ?? data.readUInt8(4)) !== mainTable) return undefined
  const isV4 = data.readUInt8(0) === AF_INET
  const destination = attributes.get(1)
  const gateway = attributes.get(5)
  const index = attributes.get(4)?.readUInt32LE()
  return {
    destination: `${destination ? addressText(destination) : isV4 ? '0.0.0.0' : '::'}/${data.readUInt8(1)}`,
    ...(gateway && { gateway: addressText(gateway) }),
    ...(index !== undefined && { index }),
    scope: data.readUInt8(6),
  }
}
