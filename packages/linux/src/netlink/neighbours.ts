// Neighbours: which link-layer address an IP address has. @see ip-neighbour(8)
import type { Family } from './ip.ts'
import { indexOf } from './links.ts'
import type { LinkRef } from './messages/link.ts'
import { NLM_F } from './messages/message.ts'
import {
  decodeNeighbour,
  encodeNeighbour,
  encodeNeighbourFilter,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './messages/neighbour.ts'
import type { Neighbour } from './messages/neighbour.ts'
import type { NetlinkSocket } from './socket.ts'

export interface NeighbourFilter {
  link?: LinkRef
  family?: Family
}

export interface Neighbours {
  list(filter?: NeighbourFilter): Promise<Neighbour[]>
  /** Permanent unless it has a state. */
  add(neighbour: Neighbour, how?: 'new' | 'replace'): Promise<void>
  delete(neighbour: Neighbour): Promise<void>
}

export function createNeighbours(socket: NetlinkSocket): Neighbours {
  const change = async (type: number, verb: string, neighbour: Neighbour, flags = 0): Promise<void> =>
    void (await socket.ask({
      type,
      flags,
      call: `${verb} neighbour`,
      path: neighbour.address,
      body: encodeNeighbour(neighbour),
    }))
  return {
    async list({ link, family } = {}) {
      const body = encodeNeighbourFilter(family, link === undefined ? undefined : await indexOf(socket, link))
      const answers = await socket.dump({ type: RTM_GETNEIGH, call: 'list', path: 'neighbours', body })
      return answers.flatMap(({ data }) => decodeNeighbour(data) ?? [])
    },
    add: async (neighbour, how = 'new') =>
      change(RTM_NEWNEIGH, 'add', neighbour, NLM_F.CREATE | (how === 'new' ? NLM_F.EXCL : NLM_F.REPLACE)),
    delete: async (neighbour) => change(RTM_DELNEIGH, 'delete', neighbour),
  }
}
