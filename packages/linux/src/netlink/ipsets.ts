// Sets of addresses and ports that rules of netfilter look into. @see ipset(8)
import { LinuxError } from '../errors.ts'
import { unless } from './links.ts'
import { NLM_F } from './messages/message.ts'
import {
  decodeSets,
  encodeEntries,
  encodeNewSet,
  encodeSetName,
  IPSET_CMD,
  ipsetErrorName,
  refusedLine,
} from './messages/ipset.ts'
import type { Ipset, ListedIpset } from './messages/ipset.ts'
import { NETLINK_NETFILTER, openSocket } from './socket.ts'
import type { NetlinkSocket, Request } from './socket.ts'

export interface IpsetChange {
  set: Ipset
  /** As ipset writes them, for instance `10.0.0.1,tcp:80`. */
  add?: readonly string[]
  delete?: readonly string[]
}

/** What the kernel refuses is a LinuxError whose code is an errno or one of ipset's own, such as `IPSET_ERR_BUSY`. */
export interface Ipsets {
  /** All sets of the types that are known here, with their entries. @throws LinuxError EOPNOTSUPP and the like without ip_set */
  list(): Promise<ListedIpset[]>
  /** Undefined when there is none, or it is of another type than those known here. */
  get(name: string): Promise<ListedIpset | undefined>
  /** @throws LinuxError EEXIST when there is one of the name */
  create(set: Ipset): Promise<void>
  /** Deletes and then adds entries, many in one message; what is there already, or is not, is passed over. */
  change(changes: readonly IpsetChange[]): Promise<void>
  /** Empties it. @throws LinuxError ENOENT */
  flush(name: string): Promise<void>
  /** Fine when there is none. @throws LinuxError IPSET_ERR_BUSY while a rule refers to it */
  destroy(name: string): Promise<void>
}

/** Entries in one message: the kernel sends it back whole when it refuses one. */
const entriesAtOnce = 300

export function createIpsets(netns: string | undefined): Ipsets {
  // Lists may be long.
  const open = (): NetlinkSocket => openSocket(NETLINK_NETFILTER, netns, true)
  const ask = async (request: Request): Promise<void> => {
    using socket = open()
    await socket.ask(request)
  }
  const named = (type: number, call: string, name: string): Request => ({
    type,
    call,
    path: name,
    body: encodeSetName(name),
    refusal: (errno) => new LinuxError(ipsetErrorName(errno, undefined), call, name),
  })
  const read = async (request: Request): Promise<ListedIpset[]> => {
    using socket = open()
    return decodeSets((await socket.dump(request)).map(({ data }) => data))
  }
  return {
    list: async () => read({ type: IPSET_CMD.LIST, call: 'list', path: 'sets', body: encodeSetName() }),
    get: async (name) => (await unless('ENOENT', read(named(IPSET_CMD.LIST, 'list set', name)), []))[0],
    create: async (set) =>
      ask({
        ...named(IPSET_CMD.CREATE, `create set ${set.type}`, set.name),
        flags: NLM_F.CREATE | NLM_F.EXCL,
        body: encodeNewSet(set),
      }),
    change: async (changes) => {
      using socket = open()
      function* requests(): Generator<Request> {
        for (const { set, add = [], delete: gone = [] } of changes) {
          yield* entryRequests(IPSET_CMD.DEL, 'delete', set, gone)
          yield* entryRequests(IPSET_CMD.ADD, 'add', set, add)
        }
      }
      const refusal = (await socket.askAll(requests())).find((error) => error !== undefined)
      if (refusal) throw refusal
    },
    flush: async (name) => ask(named(IPSET_CMD.FLUSH, 'flush set', name)),
    destroy: async (name) => unless('ENOENT', ask(named(IPSET_CMD.DESTROY, 'destroy set', name)), undefined),
  }
}

function* entryRequests(
  type: number,
  verb: 'add' | 'delete',
  set: Ipset,
  entries: readonly string[],
): Generator<Request> {
  const call = `${verb} entry ${verb === 'add' ? 'to' : 'from'} set ${set.name}`
  for (let from = 0; from < entries.length; from += entriesAtOnce) {
    const some = entries.slice(from, from + entriesAtOnce)
    yield {
      type,
      call,
      path: set.type,
      body: encodeEntries(set, some),
      refusal: (errno, { data }) => {
        const line = refusedLine(data)
        const path = line === undefined ? `of ${some.length}` : (some[line - 1] ?? '')
        return new LinuxError(ipsetErrorName(errno, set.type), call, path)
      },
    }
  }
}
