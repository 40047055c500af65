// Notifications of a network namespace as they come. @see rtnetlink(7)
import { closeSync } from 'node:fs'
import { call } from '../libc.ts'
import { socketFromFd } from '../sockets.ts'
import { decodeAddress, RTM_DELADDR, RTM_NEWADDR } from './messages/address.ts'
import type { Address } from './messages/address.ts'
import { decodeLink, RTM_DELLINK, RTM_NEWLINK } from './messages/link.ts'
import type { Link } from './messages/link.ts'
import { unframe } from './messages/message.ts'
import { decodeNeighbour, RTM_DELNEIGH, RTM_NEWNEIGH } from './messages/neighbour.ts'
import type { Neighbour } from './messages/neighbour.ts'
import { decodeRoute, RTM_DELROUTE, RTM_NEWROUTE } from './messages/route.ts'
import type { Route } from './messages/route.ts'
import { NETLINK_ROUTE, openDescriptor } from './socket.ts'

const AF_UNSPEC = 0
const AF_NETLINK = 16
/** Bits of the multicast groups. */
const RTMGRP = { LINK: 0x1, NEIGH: 0x4, IPV4_IFADDR: 0x10, IPV4_ROUTE: 0x40, IPV6_IFADDR: 0x100, IPV6_ROUTE: 0x400 }
const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33
/** Room for some hundred notifications that nobody has read yet. */
const waitingBytes = 1024 * 1024

export interface NetworkChange<Thing> {
  /** `set` for a new one and for one that is not as it was. */
  type: 'set' | 'deleted'
  value: Thing
}

/**
 * What changes from the call on, until the signal: it ends the loop. Read what there is after the call, and nothing is missed.
 * A loop that lags behind a burst ends with the error ENOBUFS: watch and read again.
 */
export interface Watch {
  links(signal: AbortSignal): AsyncIterable<NetworkChange<Link>>
  addresses(signal: AbortSignal): AsyncIterable<NetworkChange<Address>>
  routes(signal: AbortSignal): AsyncIterable<NetworkChange<Route>>
  neighbours(signal: AbortSignal): AsyncIterable<NetworkChange<Neighbour>>
}

interface Topic<Thing> {
  groups: number
  set: number
  deleted: number
  decode(data: Buffer): Thing | undefined
}

const links: Topic<Link> = {
  groups: RTMGRP.LINK,
  set: RTM_NEWLINK,
  deleted: RTM_DELLINK,
  // A bridge tells of its ports by messages of its own, and deletes one when the port leaves it.
  decode: (data) => (data[0] === AF_UNSPEC ? decodeLink(data) : undefined),
}
const addresses: Topic<Address> = {
  groups: RTMGRP.IPV4_IFADDR | RTMGRP.IPV6_IFADDR,
  set: RTM_NEWADDR,
  deleted: RTM_DELADDR,
  decode: decodeAddress,
}
const routes: Topic<Route> = {
  groups: RTMGRP.IPV4_ROUTE | RTMGRP.IPV6_ROUTE,
  set: RTM_NEWROUTE,
  deleted: RTM_DELROUTE,
  decode: decodeRoute,
}
const neighbours: Topic<Neighbour> = {
  groups: RTMGRP.NEIGH,
  set: RTM_NEWNEIGH,
  deleted: RTM_DELNEIGH,
  decode: decodeNeighbour,
}

export const watchLinks = (netns: string | undefined, signal: AbortSignal): AsyncIterable<NetworkChange<Link>> =>
  watch(netns, links, signal)
export const watchAddresses = (netns: string | undefined, signal: AbortSignal): AsyncIterable<NetworkChange<Address>> =>
  watch(netns, addresses, signal)

export function createWatch(netns: string | undefined): Watch {
  return {
    links: (signal) => watchLinks(netns, signal),
    addresses: (signal) => watchAddresses(netns, signal),
    routes: (signal) => watch(netns, routes, signal),
    neighbours: (signal) => watch(netns, neighbours, signal),
  }
}

function watch<Thing>(
  netns: string | undefined,
  { groups, set, deleted, decode }: Topic<Thing>,
  signal: AbortSignal,
): AsyncIterable<NetworkChange<Thing>> {
  signal.throwIfAborted()
  const socket = socketFromFd(openGroups(netns, groups))
  const end = (): void => void socket.destroy()
  signal.addEventListener('abort', end, { once: true })
  socket.once('close', () => signal.removeEventListener('abort', end))
  return {
    async *[Symbol.asyncIterator]() {
      try {
        for await (const packet of socket as AsyncIterable<Buffer>) {
          for (const { type, data } of unframe(packet)) {
            if (type !== set && type !== deleted) continue
            const value = decode(data)
            if (value !== undefined) yield { type: type === set ? 'set' : 'deleted', value }
          }
        }
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        socket.destroy()
      }
    },
  }
}

/** Asks at once and after each change, until there is an answer. @throws the signal's reason */
export async function until<Thing, Found>(
  start: (signal: AbortSignal) => AsyncIterable<NetworkChange<Thing>>,
  ask: (change?: NetworkChange<Thing>) => Promise<Found | undefined>,
  signal: AbortSignal,
): Promise<Found> {
  for (;;) {
    const ended = new AbortController()
    try {
      const changes = start(AbortSignal.any([signal, ended.signal]))
      const already = await ask()
      if (already !== undefined) return already
      for await (const change of changes) {
        const found = await ask(change)
        if (found !== undefined) return found
      }
      throw signal.reason
    } catch (error) {
      const isBehind = error instanceof Error && 'code' in error && error.code === 'ENOBUFS'
      if (!isBehind) throw error // otherwise some changes went by unseen
    } finally {
      ended.abort()
    }
  }
}

/** A descriptor that hears the groups. */
function openGroups(netns: string | undefined, groups: number): number {
  const fd = openDescriptor(NETLINK_ROUTE, netns)
  try {
    const size = Buffer.alloc(4)
    size.writeUInt32LE(waitingBytes)
    call('setsockopt', 'SO_RCVBUFFORCE', fd, SOL_SOCKET, SO_RCVBUFFORCE, size, size.length)
    const address = Buffer.alloc(12) // struct sockaddr_nl
    address.writeUInt16LE(AF_NETLINK, 0)
    address.writeUInt32LE(groups, 8)
    call('bind', 'notifications', fd, address, address.length)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
