// What source based routing makes of an interface's addresses and routes. Pure.
import { isWithin } from '@nodelet/linux'
import type { NewRoute, Route, Rule } from '@nodelet/linux'
import { familyOf } from '../../families.ts'
import { hostPrefix } from '../../host-prefix.ts'
import type { CniResult } from '../../types.ts'
import type { SbrConfig } from './config.ts'

const firstTable = 100

export interface Found {
  /** All of the namespace. */
  rules: readonly Rule[]
  /** All of the namespace, of all tables. */
  routes: readonly Route[]
  /** Index of the interface. */
  link: number
}

export interface Plan {
  rules: Rule[]
  /** To be put in tables of their own. */
  added: NewRoute[]
  /** To be taken out of the main table. */
  removed: NewRoute[]
  /** To be put in the main table. */
  kept: NewRoute[]
}

const main = 254
const defaults = { 4: '0.0.0.0/0', 6: '::/0' }
const hostOf = (address: string): string => address.split('/')[0] ?? ''

/** @param ips those of the interface */
export function planSbr(ips: CniResult['ips'], config: SbrConfig, { rules, routes, link }: Found): Plan {
  const { table: given, gateways, addSourceHints } = config
  if (given !== undefined) {
    return { rules: ips.map(({ address }) => ruleFor(address, given)), added: [], removed: [], kept: [] }
  }
  const moved = routes.filter((route) => route.table === main && isOver(route, link))
  const used = new Set([...rules, ...routes].map((one) => one.table))
  const plan: Plan = { rules: [], added: [], removed: moved.map(newRoute), kept: [] }
  for (const { address, gateway: own } of ips) {
    const table = freeTable(used)
    used.add(table)
    const gateway = gateways[familyOf(address)] ?? own
    const routesFor = moved.filter((route) => isFor(route, address))
    const [near, far] = [routesFor.filter(isConnected), routesFor.filter((route) => !isConnected(route))]
    const byDefault = gateway === undefined ? [] : [{ destination: defaults[familyOf(address)], gateway, link }]
    plan.rules.push(ruleFor(address, table))
    // First the ways to gateways.
    plan.added.push(
      ...[...near.map(newRoute), ...byDefault, ...far.map(newRoute)].map((route) => ({ ...route, table })),
    )
    if (addSourceHints) plan.kept.push(...hinted(near, address))
  }
  return plan
}

function freeTable(used: ReadonlySet<number | undefined>): number {
  let table = firstTable
  while (used.has(table)) table += 1
  return table
}

/** The ways to the address's own network, from that address. */
const hinted = (near: readonly Route[], address: string): NewRoute[] =>
  near
    .filter(({ destination }) => isWithin(hostOf(address), destination))
    .map((route) => ({ ...newRoute(route), source: hostOf(address) }))

/** What gives an interface that stays its routes back. */
export function planReturn(
  routes: readonly Route[],
  link: number,
  tables: ReadonlySet<number>,
  destinations: ReadonlySet<string>,
): Pick<Plan, 'removed' | 'kept'> {
  const own = routes.filter((route) => tables.has(route.table) && isOver(route, link))
  const [near, far] = [own.filter(isConnected), own.filter((route) => !isConnected(route))]
  const before = [...near, ...far.filter(({ destination }) => destinations.has(destination))]
  return { removed: own.map(newRoute), kept: before.map((route) => ({ ...newRoute(route), table: main })) }
}

/** The result with the tables that its routes are in by now. */
export function withTables(result: CniResult, { added, removed }: Plan): CniResult {
  const routes = result.routes.map((route) => {
    const isMoved = route.table === undefined && removed.some(({ destination }) => destination === route.dst)
    const table = isMoved ? added.find(({ destination }) => destination === route.dst)?.table : undefined
    return table === undefined ? route : { ...route, table }
  })
  return { ...result, routes }
}

export const ruleFor = (address: string, table: number): Rule => ({
  family: familyOf(address),
  from: hostPrefix(address),
  table,
})

/** Whether all packets of the route leave by the link. */
const isOver = ({ index, nextHops }: Route, link: number): boolean =>
  nextHops ? nextHops.every((hop) => hop.index === link) : index === link

const isConnected = ({ gateway, nextHops }: Route): boolean => gateway === undefined && nextHops === undefined

/** Whether it is of the address's network; one that names no address is of every one of the family. */
function isFor({ family, source, gateway, nextHops }: Route, address: string): boolean {
  if (family !== familyOf(address)) return false
  const named = [source, gateway, ...(nextHops ?? []).map((hop) => hop.gateway)].filter((one) => one !== undefined)
  return named.length === 0 || named.some((one) => isWithin(one, address))
}

const newRoute = ({ family: _, index, nextHops, ...route }: Route): NewRoute => ({
  ...route,
  ...(index !== undefined && { link: index }),
  ...(nextHops && { nextHops: nextHops.map(({ index: link, ...hop }) => ({ ...hop, link })) }),
})
