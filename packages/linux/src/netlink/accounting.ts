// Objects that count the packets of those rules of netfilter that name them. @see nfacct(8)
import { unless } from './links.ts'
import { decodeAccount, encodeAccountName, NFNL_MSG_ACCT } from './messages/accounting.ts'
import type { Account } from './messages/accounting.ts'
import { NLM_F } from './messages/message.ts'
import { NETLINK_NETFILTER, openSocket } from './socket.ts'
import type { Request } from './socket.ts'

/** A kernel without nfnetlink_acct refuses all of it with a LinuxError `EINVAL`. */
export interface Accounting {
  list(): Promise<Account[]>
  /** Undefined when there is none of the name. */
  get(name: string): Promise<Account | undefined>
  /** Makes it where there is none of the name; one that is there keeps what it has counted. */
  ensure(name: string): Promise<void>
  /** Fine when there is none. @throws LinuxError EBUSY while a rule names it */
  delete(name: string): Promise<void>
}

export function createAccounting(netns: string | undefined): Accounting {
  const named = (type: number, verb: string, name: string): Request => ({
    type,
    call: `${verb} accounting object`,
    path: name,
    body: encodeAccountName(name),
  })
  const ask = async (request: Request): Promise<Account[]> => {
    using socket = openSocket(NETLINK_NETFILTER, netns)
    return (await socket.ask(request)).map(({ data }) => decodeAccount(data))
  }
  return {
    async list() {
      using socket = openSocket(NETLINK_NETFILTER, netns)
      const request = { type: NFNL_MSG_ACCT.GET, call: 'list', path: 'accounting objects', body: encodeAccountName() }
      return (await socket.dump(request)).map(({ data }) => decodeAccount(data))
    },
    get: async (name) => (await unless('ENOENT', ask(named(NFNL_MSG_ACCT.GET, 'read', name)), []))[0],
    ensure: async (name) => {
      const flags = NLM_F.CREATE | NLM_F.EXCL
      await unless('EEXIST', ask({ ...named(NFNL_MSG_ACCT.NEW, 'create', name), flags }), [])
    },
    delete: async (name) => void (await unless('ENOENT', ask(named(NFNL_MSG_ACCT.DEL, 'delete', name)), [])),
  }
}
