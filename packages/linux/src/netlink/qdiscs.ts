// How packets wait at links, and which link they are handed to. @see tc(8)
import { indexOf } from './links.ts'
import {
  decodeRedirect,
  encodeRedirect,
  encodeRedirectFilter,
  encodeRedirectRef,
  RTM_DELTFILTER,
  RTM_GETTFILTER,
  RTM_NEWTFILTER,
} from './messages/filter.ts'
import type { Redirect } from './messages/filter.ts'
import type { LinkRef } from './messages/link.ts'
import { NLM_F } from './messages/message.ts'
import { decodeQdisc, encodeQdisc, encodeQdiscRef, RTM_DELQDISC, RTM_GETQDISC, RTM_NEWQDISC } from './messages/qdisc.ts'
import type { NewQdisc, Qdisc } from './messages/qdisc.ts'
import { tcHead } from './messages/qdisc.ts'
import type { NetlinkSocket } from './socket.ts'

export interface Qdiscs {
  /** Of a link, or of all. */
  list(link?: LinkRef): Promise<Qdisc[]>
  add(link: LinkRef, qdisc: NewQdisc, how?: 'new' | 'replace'): Promise<void>
  delete(link: LinkRef, which: 'root' | 'ingress'): Promise<void>
  /** Hands all packets that come in by the link to another, which they leave by: an ifb, whose qdisc then shapes them. */
  addRedirect(link: LinkRef, redirect: { to: LinkRef; priority?: number }): Promise<void>
  redirects(link: LinkRef): Promise<Redirect[]>
  deleteRedirect(link: LinkRef, priority?: number): Promise<void>
}

export function createQdiscs(socket: NetlinkSocket): Qdiscs {
  return {
    async list(link) {
      const index = link === undefined ? undefined : await indexOf(socket, link)
      const answers = await socket.dump({ type: RTM_GETQDISC, call: 'list', path: 'qdiscs', body: tcHead(0) })
      const all = answers.map(({ data }) => decodeQdisc(data))
      return index === undefined ? all : all.filter((qdisc) => qdisc.index === index)
    },
    async add(link, qdisc, how = 'new') {
      const body = encodeQdisc(await indexOf(socket, link), qdisc)
      const flags = NLM_F.CREATE | (how === 'new' ? NLM_F.EXCL : NLM_F.REPLACE)
      await socket.ask({ type: RTM_NEWQDISC, flags, call: `add qdisc ${qdisc.kind} of link`, path: String(link), body })
    },
    async delete(link, which) {
      const body = encodeQdiscRef(await indexOf(socket, link), which)
      await socket.ask({ type: RTM_DELQDISC, call: `delete ${which} qdisc of link`, path: String(link), body })
    },
    async addRedirect(link, { to, priority = 1 }) {
      const redirect = { index: await indexOf(socket, link), priority, to: await indexOf(socket, to) }
      const flags = NLM_F.CREATE | NLM_F.EXCL
      const path = `${link} to ${to}`
      await socket.ask({ type: RTM_NEWTFILTER, flags, call: 'redirect link', path, body: encodeRedirect(redirect) })
    },
    async redirects(link) {
      const body = encodeRedirectFilter(await indexOf(socket, link))
      const answers = await socket.dump({
        type: RTM_GETTFILTER,
        call: 'list redirects of link',
        path: String(link),
        body,
      })
      return answers.flatMap(({ data }) => decodeRedirect(data) ?? [])
    },
    async deleteRedirect(link, priority = 1) {
      const body = encodeRedirectRef(await indexOf(socket, link), priority)
      await socket.ask({ type: RTM_DELTFILTER, call: 'delete redirect of link', path: String(link), body })
    },
  }
}
