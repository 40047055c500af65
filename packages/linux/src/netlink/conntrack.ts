// Connections that the kernel tracks. @see conntrack(8)
import { unless } from './links.ts'
import { canonical, decodeFlow, encodeFlow, encodeFlowFilter, matchesFlow } from './messages/flow.ts'
import { IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET } from './messages/flow.ts'
import type { Flow, FlowFilter } from './messages/flow.ts'
import { NETLINK_NETFILTER, openSocket } from './socket.ts'
import type { NetlinkSocket } from './socket.ts'

export interface Conntrack {
  list(filter: FlowFilter): Promise<Flow[]>
  /** Forgets a flow, or all that match; says how many. One that has ended meanwhile does not count. */
  delete(what: Flow | FlowFilter): Promise<number>
}

export function createConntrack(netns: string | undefined): Conntrack {
  // The table may have hundreds of thousands of flows, which the kernel goes through while a piece of the list is read.
  const open = (): NetlinkSocket => openSocket(NETLINK_NETFILTER, netns, true)
  const list: Conntrack['list'] = async ({ original, reply, ...rest }) => {
    const filter = { ...rest, original: canonical(original), reply: canonical(reply) }
    using socket = open()
    const body = encodeFlowFilter(filter)
    const flows: Flow[] = []
    await socket.each({ type: IPCTNL_MSG_CT_GET, call: 'list', path: 'tracked flows', body }, ({ data }) => {
      const flow = decodeFlow(data)
      if (flow && matchesFlow(flow, filter)) flows.push(flow)
    })
    return flows
  }
  return {
    list,
    async delete(what) {
      const flows = 'id' in what ? [what] : await list(what)
      using socket = open()
      let deleted = 0
      for (const flow of flows) {
        const { source, destination } = flow.original
        const path = `from ${source} to ${destination}`
        const request = { type: IPCTNL_MSG_CT_DELETE, call: 'delete tracked flow', path, body: encodeFlow(flow) }
        if (await unless('ENOENT', socket.ask(request), undefined)) deleted += 1
      }
      return deleted
    },
  }
}
