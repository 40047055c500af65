// The jumps from the kernel's own chains to ours. Pure.
import { comment, type IptablesProgram, type Rule } from '../iptables/program.ts'
import type { SavedTable, SavedTables } from './saved.ts'

/** A jump from one of the kernel's chains to one of ours. */
export interface Jump {
  table: 'filter' | 'nat'
  parent: string
  target: string
  /** Only the first packet of a connection. */
  fresh: boolean
  note: string
}

const jump = (table: Jump['table'], parent: string, target: string, fresh: boolean, note: string): Jump => ({
  table,
  parent,
  target,
  fresh,
  note,
})

const outside = 'kubernetes externally-visible service portals'
const portals = 'kubernetes service portals'
const firewall = 'kubernetes load balancer firewall'

/** Those of the mode iptables, in the order in which they are put at the head of their parents. */
export const iptablesJumps: readonly Jump[] = [
  jump('filter', 'INPUT', 'KUBE-EXTERNAL-SERVICES', true, outside),
  jump('filter', 'FORWARD', 'KUBE-EXTERNAL-SERVICES', true, outside),
  jump('filter', 'INPUT', 'KUBE-NODEPORTS', false, 'kubernetes health check service ports'),
  jump('filter', 'FORWARD', 'KUBE-SERVICES', true, portals),
  jump('filter', 'OUTPUT', 'KUBE-SERVICES', true, portals),
  jump('filter', 'FORWARD', 'KUBE-FORWARD', false, 'kubernetes forwarding rules'),
  jump('filter', 'INPUT', 'KUBE-PROXY-FIREWALL', true, firewall),
  jump('filter', 'OUTPUT', 'KUBE-PROXY-FIREWALL', true, firewall),
  jump('filter', 'FORWARD', 'KUBE-PROXY-FIREWALL', true, firewall),
  jump('nat', 'OUTPUT', 'KUBE-SERVICES', false, portals),
  jump('nat', 'PREROUTING', 'KUBE-SERVICES', false, portals),
  jump('nat', 'POSTROUTING', 'KUBE-POSTROUTING', false, 'kubernetes postrouting rules'),
  jump('filter', 'INPUT', 'KUBE-FIREWALL', false, ''),
  jump('filter', 'OUTPUT', 'KUBE-FIREWALL', false, ''),
]

const access = 'kubernetes ipvs access filter'
const proxyFirewall = 'kube-proxy firewall rules'

/** Those of the mode ipvs, likewise. */
export const ipvsJumps: readonly Jump[] = [
  jump('nat', 'OUTPUT', 'KUBE-SERVICES', false, portals),
  jump('nat', 'PREROUTING', 'KUBE-SERVICES', false, portals),
  jump('nat', 'POSTROUTING', 'KUBE-POSTROUTING', false, 'kubernetes postrouting rules'),
  jump('filter', 'FORWARD', 'KUBE-FORWARD', false, 'kubernetes forwarding rules'),
  jump('filter', 'INPUT', 'KUBE-NODE-PORT', false, 'kubernetes health check rules'),
  jump('filter', 'INPUT', 'KUBE-PROXY-FIREWALL', false, proxyFirewall),
  jump('filter', 'FORWARD', 'KUBE-PROXY-FIREWALL', false, proxyFirewall),
  jump('filter', 'INPUT', 'KUBE-IPVS-FILTER', false, access),
  jump('filter', 'OUTPUT', 'KUBE-IPVS-OUT-FILTER', false, access),
]

/** The program with the jumps of its mode that are not there yet; only those to chains that it declares. */
export function withMissingJumps(
  program: IptablesProgram,
  saved: SavedTables,
  jumps: readonly Jump[],
): IptablesProgram {
  const tables = program.tables.map((table) => ({
    ...table,
    insertions: missingJumps(table.table, table.chains, saved, jumps),
  }))
  return { ...program, tables }
}

/** The jumps to these chains that a table does not have yet. */
export function missingJumps(
  table: string,
  targets: readonly string[],
  saved: SavedTables,
  jumps: readonly Jump[],
): Rule[] {
  const present = saved.get(table)?.rules ?? []
  return jumps
    .filter((wanted) => wanted.table === table && targets.includes(wanted.target))
    .filter((wanted) => !present.some((rule) => isRuleOf(rule, wanted)))
    .map(ruleOf)
}

/** Whether a printed rule jumps to one of these chains from a chain that is not among them. */
export function jumpsInto(text: string, targets: ReadonlySet<string>): boolean {
  return targets.has(/(?:^| )-j (\S+)$/.exec(text)?.[1] ?? '')
}

/** Whether a printed rule is the jump. */
export function isRuleOf({ chain, text }: SavedTable['rules'][number], { parent, target, fresh, note }: Jump): boolean {
  if (chain !== parent || !jumpsInto(text, new Set([target]))) return false
  return text.includes('--ctstate NEW') === fresh && (note === '' || text.includes(`"${note}"`))
}

function ruleOf({ parent, target, fresh, note }: Jump): Rule {
  const match = fresh ? ['-m', 'conntrack', '--ctstate', 'NEW'] : []
  return { chain: parent, args: [...match, ...(note === '' ? [] : comment(note)), '-j', target] }
}
