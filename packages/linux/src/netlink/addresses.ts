// Addresses of links. @see ip-address(8)
import { decodeAddress, encodeAddress, encodeAddressFilter } from './messages/address.ts'
import { RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR } from './messages/address.ts'
import type { Address, NewAddress } from './messages/address.ts'
import type { LinkRef } from './messages/link.ts'
import type { Family } from './ip.ts'
import { indexOf } from './links.ts'
import { NLM_F } from './messages/message.ts'
import type { NetlinkSocket, Request } from './socket.ts'
import { until, watchAddresses } from './watch.ts'

export interface AddressFilter {
  link?: LinkRef
  family?: Family
}

export interface Addresses {
  list(filter?: AddressFilter): Promise<Address[]>
  /** @param address with its prefix, for instance `10.0.0.1/24`, or with more settings */
  add(link: LinkRef, address: string | NewAddress): Promise<void>
  delete(link: LinkRef, address: string | NewAddress): Promise<void>
  /**
   * Deletes and then adds addresses, many in one packet; what is there already, or is not, is passed over.
   * @throws LinuxError of the first that is refused; the others are done
   */
  change(link: LinkRef, change: { add?: readonly string[]; delete?: readonly string[] }): Promise<void>
  /**
   * Waits until no address of the link is tentative, and tells its addresses; one that another machine has is
   * flagged `dadFailed`. A link that is down, or whose cable is out, checks nothing and settles never.
   * @throws the signal's reason
   */
  untilSettled(link: LinkRef, signal: AbortSignal): Promise<Address[]>
}

export function createAddresses(socket: NetlinkSocket): Addresses {
  const settings = (address: string | NewAddress): NewAddress => (typeof address === 'string' ? { address } : address)
  const adding = (link: LinkRef, index: number, address: NewAddress): Request => ({
    type: RTM_NEWADDR,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    call: 'add address',
    path: `${address.address} of ${link}`,
    body: encodeAddress(index, address),
  })
  const deleting = (link: LinkRef, index: number, address: NewAddress): Request => ({
    type: RTM_DELADDR,
    call: 'delete address',
    path: `${address.address} of ${link}`,
    body: encodeAddress(index, address),
  })
  const list: Addresses['list'] = async ({ link, family } = {}) => {
    const body = encodeAddressFilter(link === undefined ? undefined : await indexOf(socket, link), family)
    const answers = await socket.dump({ type: RTM_GETADDR, call: 'list', path: 'addresses', body })
    return answers.flatMap(({ data }) => decodeAddress(data) ?? [])
  }

  return {
    list,
    add: async (link, address) => void (await socket.ask(adding(link, await indexOf(socket, link), settings(address)))),
    delete: async (link, address) =>
      void (await socket.ask(deleting(link, await indexOf(socket, link), settings(address)))),
    async change(link, { add = [], delete: gone = [] }) {
      const index = await indexOf(socket, link)
      function* requests(): Generator<Request> {
        for (const address of gone) yield deleting(link, index, { address })
        for (const address of add) yield adding(link, index, { address })
      }
      const refusals = await socket.askAll(requests())
      const refusal = refusals.find((error) => error && !['EEXIST', 'EADDRNOTAVAIL'].includes(error.code))
      if (refusal) throw refusal
    },
    async untilSettled(link, signal) {
      const index = await indexOf(socket, link)
      return until(
        (limit) => watchAddresses(socket.netns, limit),
        async (change) => {
          if (change && change.value.index !== index) return undefined
          const addresses = await list({ link: index })
          return addresses.some(({ flags }) => flags.tentative && !flags.dadFailed) ? undefined : addresses
        },
        signal,
      )
    },
  }
}
