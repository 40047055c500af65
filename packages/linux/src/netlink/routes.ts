// Routes and the rules that choose their tables. @see ip-route(8), ip-rule(8)
import type { Family } from './ip.ts'
import { indexOf, unless } from './links.ts'
import { NLM_F } from './messages/message.ts'
import {
  decodeRoute,
  encodeRoute,
  encodeRouteFilter,
  encodeRouteLookup,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
} from './messages/route.ts'
import type { NewRoute, Route, RouteFilter } from './messages/route.ts'
import { decodeRule, encodeRule, encodeRuleFilter, RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE } from './messages/rule.ts'
import type { Rule } from './messages/rule.ts'
import type { NetlinkSocket } from './socket.ts'

export interface Routes {
  /** Of the main table unless the filter says otherwise. */
  list(filter?: RouteFilter): Promise<Route[]>
  /** Which way packets to an address go; undefined: none. */
  lookup(address: string): Promise<Route | undefined>
  /** `append`: beside routes to the same destination, for IPv6 as one more of its next hops. */
  add(route: NewRoute, how?: 'new' | 'replace' | 'append'): Promise<void>
  delete(route: NewRoute): Promise<void>
}

const adding = { new: NLM_F.EXCL, replace: NLM_F.REPLACE, append: NLM_F.APPEND }

export function createRoutes(socket: NetlinkSocket): Routes {
  const change = async (type: number, verb: string, route: NewRoute, flags = 0): Promise<void> => {
    const index = route.link === undefined ? undefined : await indexOf(socket, route.link)
    const hops: number[] = []
    for (const hop of route.nextHops ?? []) hops.push(await indexOf(socket, hop.link))
    const body = encodeRoute(route, { index, hops })
    await socket.ask({ type, flags, call: `${verb} route`, path: nameOf(route), body })
  }
  return {
    async list(filter = {}) {
      const index = filter.link === undefined ? undefined : await indexOf(socket, filter.link)
      const body = encodeRouteFilter(filter, index)
      const request = { type: RTM_GETROUTE, call: 'list', path: 'routes', body }
      // The kernel makes a table with its first route.
      const answers = await unless('ENOENT', socket.dump(request), [])
      return answers.flatMap(({ data }) => decodeRoute(data) ?? [])
    },
    async lookup(address) {
      const request = { type: RTM_GETROUTE, call: 'look up route', path: address, body: encodeRouteLookup(address) }
      const [answer] = await unless('ENETUNREACH', socket.ask(request), [])
      return answer && decodeRoute(answer.data)
    },
    add: async (route, how = 'new') => change(RTM_NEWROUTE, 'add', route, NLM_F.CREATE | adding[how]),
    delete: async (route) => change(RTM_DELROUTE, 'delete', route),
  }
}

const nameOf = ({ destination, gateway, link }: NewRoute): string =>
  `${destination}${gateway === undefined ? '' : ` via ${gateway}`}${link === undefined ? '' : ` dev ${link}`}`

export interface Rules {
  list(family?: Family): Promise<Rule[]>
  add(rule: Rule): Promise<void>
  /** Deletes the first that has all that is given. */
  delete(rule: Rule): Promise<void>
}

export function createRules(socket: NetlinkSocket): Rules {
  const change = async (type: number, verb: string, rule: Rule, flags = 0): Promise<void> => {
    const { from = 'all', table } = rule
    const path = `from ${from}${table === undefined ? '' : ` lookup ${table}`}`
    await socket.ask({ type, flags, call: `${verb} rule`, path, body: encodeRule(rule) })
  }
  return {
    async list(family) {
      const body = encodeRuleFilter(family)
      const answers = await socket.dump({ type: RTM_GETRULE, call: 'list', path: 'rules', body })
      return answers.flatMap(({ data }) => decodeRule(data) ?? [])
    },
    add: async (rule) => change(RTM_NEWRULE, 'add', rule, NLM_F.CREATE | NLM_F.EXCL),
    delete: async (rule) => change(RTM_DELRULE, 'delete', rule),
  }
}
