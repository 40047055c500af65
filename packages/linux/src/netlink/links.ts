// Links: made, changed, moved, deleted, listed. @see ip-link(8)
import { closeSync, openSync } from 'node:fs'
import { LinuxError } from '../errors.ts'
import { decodeLink, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK } from './messages/link.ts'
import type { Born, Link, LinkChange, LinkRef, NetnsRef, NewLink } from './messages/link.ts'
import { encodeLinkChange, encodeLinkFilter, encodeLinkRef, encodeNewLink } from './messages/link-request.ts'
import { NLM_F } from './messages/message.ts'
import type { Message } from './messages/message.ts'
import { NETLINK_ROUTE, openSocket } from './socket.ts'
import type { NetlinkSocket } from './socket.ts'
import { makeTap } from './tap.ts'
import type { NewTap } from './tap.ts'
import { until, watchLinks } from './watch.ts'

export interface LinkFilter {
  /** Only ports of this bridge or vrf. */
  master?: LinkRef
  /** For instance `bridge`. */
  kind?: string
}

export interface Links {
  list(filter?: LinkFilter): Promise<Link[]>
  /** Undefined when there is none. */
  get(link: LinkRef): Promise<Link | undefined>
  /** Makes a link with all its settings in one request; a veth with both ends. */
  add(link: NewLink): Promise<Born>
  /** Makes a link that is born in another namespace, where alone one can ask for it. */
  addTo(netns: NetnsRef, link: NewLink): Promise<void>
  /** Makes a tun or tap link that stays without a program which has it open. */
  addTap(tap: NewTap): Promise<void>
  /** Changes all that is given in one request; moving and renaming together. */
  set(link: LinkRef, change: LinkChange): Promise<void>
  /** Deletes a link and its veth peer; fine when there is none. */
  delete(link: LinkRef): Promise<void>
  /** Fulfilled when the link carries traffic. @throws LinuxError ENODEV when it is gone; the signal's reason */
  untilOperational(link: LinkRef, signal: AbortSignal): Promise<void>
}

export function createLinks(socket: NetlinkSocket): Links {
  const get: Links['get'] = async (link) => {
    const request = { type: RTM_GETLINK, call: 'get link', path: String(link), body: encodeLinkRef(link) }
    const [answer] = await unless('ENODEV', socket.ask(request), [])
    return answer && decodeLink(answer.data)
  }
  const linkIndex = async (link: LinkRef | undefined): Promise<number | undefined> =>
    link === undefined ? undefined : indexOf(socket, link)
  const make = async (link: NewLink, netns?: NetnsRef): Promise<Message[]> => {
    const master = await linkIndex(link.master)
    const parent = await linkIndex(link.parent)
    const peerNetns = link.kind === 'veth' ? link.peer.netns : undefined
    return withDescriptors([netns, peerNetns], async ([netnsFd, peerNetnsFd]) =>
      socket.ask({
        type: RTM_NEWLINK,
        flags: NLM_F.CREATE | NLM_F.EXCL | NLM_F.ECHO,
        call: 'create link',
        path: link.name,
        body: encodeNewLink(link, { master, parent, netnsFd, peerNetnsFd }),
      }),
    )
  }

  return {
    get,
    async list({ master, kind } = {}) {
      const body = encodeLinkFilter(await linkIndex(master), kind)
      const answers = await socket.dump({ type: RTM_GETLINK, call: 'list', path: 'links', body })
      const links = answers.map(({ data }) => decodeLink(data))
      // The kernel passes over the name of a kind that has no driver.
      return kind === undefined ? links : links.filter((link) => link.kind === kind)
    },
    async add(link) {
      const [answer] = await make(link)
      // Linux 6.2 and later answer with the new link.
      const born = answer ? decodeLink(answer.data) : await get(link.name)
      if (!born) throw new LinuxError('ENODEV', 'get link', link.name)
      return { index: born.index, ...(born.mac && { mac: born.mac }), ...(born.peer && { peer: born.peer }) }
    },
    async addTo(netns, link) {
      await make(link, netns)
    },
    addTap: async (tap) => makeTap(tap, socket.netns),
    async set(link, change) {
      const master = change.master === null ? 0 : await linkIndex(change.master)
      // By its name the kernel would take the new name for the old one.
      const at = change.name === undefined ? link : await indexOf(socket, link)
      await withDescriptors([change.netns], async ([netnsFd]) =>
        socket.ask({
          type: change.details ? RTM_NEWLINK : RTM_SETLINK,
          call: `set ${Object.keys(change).join(', ')} of link`,
          path: String(link),
          body: encodeLinkChange(at, change, { master, netnsFd }),
        }),
      )
    },
    async delete(link) {
      // The kernel waits up to 50 ms for other processors: that holds up nobody else on a socket of its own.
      using own = openSocket(NETLINK_ROUTE, socket.netns)
      const request = { type: RTM_DELLINK, call: 'delete link', path: String(link), body: encodeLinkRef(link) }
      await unless('ENODEV', own.ask(request), [])
    },
    async untilOperational(link, signal) {
      let index: number | undefined
      await until<Link, true>(
        (limit) => watchLinks(socket.netns, limit),
        async (change) => {
          const now = change ? change.value : await get(index ?? link)
          if (change && now?.index !== index) return undefined
          if (!now || change?.type === 'deleted') throw new LinuxError('ENODEV', 'watch link', String(link))
          index = now.index
          return now.operational || undefined
        },
        signal,
      )
    },
  }
}

/** @throws LinuxError ENODEV */
export async function indexOf(socket: NetlinkSocket, link: LinkRef): Promise<number> {
  if (typeof link === 'number') return link
  const body = encodeLinkRef(link)
  const [answer] = await socket.ask({ type: RTM_GETLINK, call: 'get link', path: link, body })
  if (!answer) throw new LinuxError('ENODEV', 'get link', link)
  return decodeLink(answer.data).index
}

/** What is there in place of one error. */
export async function unless<Value>(code: string, wanted: Promise<Value>, otherwise: Value): Promise<Value> {
  try {
    return await wanted
  } catch (error) {
    if (error instanceof LinuxError && error.code === code) return otherwise
    throw error
  }
}

/** Descriptors of namespaces for the length of a request; those opened here are closed after it. */
async function withDescriptors<Value>(
  places: readonly (NetnsRef | undefined)[],
  use: (fds: (number | undefined)[]) => Promise<Value>,
): Promise<Value> {
  const opened: number[] = []
  try {
    const fds = places.map((place) => {
      if (typeof place !== 'string') return place
      const fd = openSync(place, 'r')
      opened.push(fd)
      return fd
    })
    return await use(fds)
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}
