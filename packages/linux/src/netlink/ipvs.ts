// The kernel's load balancer IPVS: virtual servers, and the real servers that their connections go to. @see ipvsadm(8)
import type { LinuxError } from '../errors.ts'
import { familyOf } from './generic.ts'
import { unless } from './links.ts'
import { encodeGeneric } from './messages/generic.ts'
import {
  decodeRealServer,
  decodeTimeouts,
  decodeVersion,
  decodeVirtualServer,
  encodeRealServer,
  encodeRealServerKey,
  encodeTimeouts,
  encodeVirtualServer,
  encodeVirtualServerKey,
  IPVS_CMD,
} from './messages/virtual-server.ts'
import type {
  IpvsTimeouts,
  NewRealServer,
  RealServer,
  RealServerKey,
  VirtualServer,
  VirtualServerKey,
} from './messages/virtual-server.ts'
import { NETLINK_GENERIC, openSocket } from './socket.ts'
import type { NetlinkSocket, Request } from './socket.ts'

/** One change of the tables. */
export type IpvsChange =
  | { kind: 'addVirtualServer' | 'setVirtualServer'; server: VirtualServer }
  /** Its real servers go with it. */
  | { kind: 'deleteVirtualServer'; server: VirtualServerKey }
  | { kind: 'addRealServer' | 'setRealServer'; of: VirtualServerKey; server: NewRealServer }
  /** Connections that it has stay as long as packets come. */
  | { kind: 'deleteRealServer'; of: VirtualServerKey; server: RealServerKey }

export interface IpvsRefusal {
  change: IpvsChange
  error: LinuxError
}

export interface Ipvs {
  /** For instance `1.2.1`; undefined where the kernel has no IPVS, or its module `ip_vs` is not loaded. */
  version(): Promise<string | undefined>
  /** Of both families; those that are named by a firewall mark are left out. */
  list(): Promise<VirtualServer[]>
  get(server: VirtualServerKey): Promise<VirtualServer | undefined>
  /** Of each of these virtual servers; none of one that is not there. */
  realServers(of: readonly VirtualServerKey[]): Promise<RealServer[][]>
  /**
   * Does the changes in their order, many in one packet, and goes on after one that the kernel refuses.
   * @returns those refused: EEXIST and ENOENT for what is there already and what is not; ENOENT also for an unknown scheduler
   */
  change(changes: readonly IpvsChange[]): Promise<IpvsRefusal[]>
  timeouts(): Promise<IpvsTimeouts>
  /** What is not given, or 0, stays as it is. */
  setTimeouts(timeouts: Partial<IpvsTimeouts>): Promise<void>
  /** Deletes all virtual servers, whoever made them. */
  flush(): Promise<void>
}

const hint = 'the kernel has no IPVS, or its module ip_vs is not loaded'

/** `10.96.0.1:53/udp`, `[fd00::1]:53/udp` */
const named = ({ address, port, protocol }: VirtualServerKey): string => `${endpoint({ address, port })}/${protocol}`
const endpoint = ({ address, port }: RealServerKey): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

export function createIpvs(netns: string | undefined): Ipvs {
  /** @throws LinuxError ENOENT without IPVS */
  const withSocket = async <Answer>(
    work: (socket: NetlinkSocket, type: number) => Promise<Answer>,
  ): Promise<Answer> => {
    // Lists may be long.
    using socket = openSocket(NETLINK_GENERIC, netns, true)
    return await work(socket, await familyOf(socket, 'IPVS', hint))
  }
  const askOne = async (command: number, call: string): Promise<Buffer | undefined> =>
    withSocket(async (socket, type) => {
      const [answer] = await socket.ask({ type, call, path: 'IPVS', body: encodeGeneric(command, []) })
      return answer?.data
    })
  return {
    version: async () => {
      const info = await unless('ENOENT', askOne(IPVS_CMD.GET_INFO, 'get version of'), undefined)
      return info && decodeVersion(info)
    },
    list: async () =>
      withSocket(async (socket, type) => {
        const body = encodeGeneric(IPVS_CMD.GET_SERVICE, [])
        const servers: VirtualServer[] = []
        // One by one, as the list may be long; the kernel never says that it has changed meanwhile.
        await socket.each({ type, call: 'list', path: 'virtual servers', body }, ({ data }) => {
          const server = decodeVirtualServer(data)
          if (server) servers.push(server)
        })
        return servers
      }),
    get: async (server) =>
      withSocket(async (socket, type) => {
        const body = encodeVirtualServerKey(IPVS_CMD.GET_SERVICE, server)
        const asked = socket.ask({ type, call: 'get virtual server', path: named(server), body })
        // ESRCH is what the kernel says of a virtual server that it does not have.
        const [answer] = await unless('ESRCH', unless('ENOENT', asked, []), [])
        return answer && decodeVirtualServer(answer.data)
      }),
    realServers: async (of) =>
      withSocket(async (socket, type) => {
        const found: RealServer[][] = []
        for (const server of of) {
          const body = encodeVirtualServerKey(IPVS_CMD.GET_DEST, server)
          const answers = await socket.dump({ type, call: 'list real servers of', path: named(server), body })
          found.push(answers.map(({ data }) => decodeRealServer(data, server)))
        }
        return found
      }),
    change: async (changes) =>
      withSocket(async (socket, type) => {
        const refusals = await socket.askAll(changes.values().map((change) => ({ type, ...requestOf(change) })))
        return changes.flatMap((change, index) => {
          const error = refusals[index]
          return error ? [{ change, error }] : []
        })
      }),
    timeouts: async () => decodeTimeouts((await askOne(IPVS_CMD.GET_CONFIG, 'get timeouts of')) ?? Buffer.alloc(4)),
    setTimeouts: async (timeouts) =>
      withSocket(async (socket, type) => {
        const path = Object.entries(timeouts)
          .map(([name, seconds]) => `${name} ${seconds}`)
          .join(', ')
        await socket.ask({ type, call: 'set timeouts of IPVS', path, body: encodeTimeouts(timeouts) })
      }),
    flush: async () => void (await askOne(IPVS_CMD.FLUSH, 'flush')),
  }
}

function requestOf(change: IpvsChange): Omit<Request, 'type'> {
  switch (change.kind) {
    case 'addVirtualServer':
    case 'setVirtualServer': {
      const isNew = change.kind === 'addVirtualServer'
      const { server } = change
      return {
        call: `${isNew ? 'add' : 'set'} virtual server`,
        path: `${named(server)} with scheduler ${server.scheduler}`,
        body: encodeVirtualServer(isNew ? IPVS_CMD.NEW_SERVICE : IPVS_CMD.SET_SERVICE, server),
      }
    }
    case 'deleteVirtualServer': {
      const body = encodeVirtualServerKey(IPVS_CMD.DEL_SERVICE, change.server)
      return { call: 'delete virtual server', path: named(change.server), body }
    }
    case 'addRealServer':
    case 'setRealServer': {
      const isNew = change.kind === 'addRealServer'
      const command = isNew ? IPVS_CMD.NEW_DEST : IPVS_CMD.SET_DEST
      return {
        call: `${isNew ? 'add' : 'set'} real server`,
        path: pathOf(change),
        body: encodeRealServer(command, change.of, change.server),
      }
    }
    case 'deleteRealServer': {
      const body = encodeRealServerKey(IPVS_CMD.DEL_DEST, change.of, change.server)
      return { call: 'delete real server', path: pathOf(change), body }
    }
    default:
      return change satisfies never
  }
}

const pathOf = ({ of, server }: { of: VirtualServerKey; server: RealServerKey }): string =>
  `${endpoint(server)} of ${named(of)}`
