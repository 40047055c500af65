// Runs packets through an iptables program.
import { iptablesJumps, withMissingJumps, type Jump } from '../apply/jumps.ts'
import type { IptablesProgram, Rule } from '../iptables/program.ts'
import { parseIptablesRule, type ParsedRule, type RuleSurroundings } from './iptables-rule.ts'
import type { InFlight } from './packet.ts'
import { entersNat, type HookName, type Machine, type Refusal } from './path.ts'

/** A rule as a packet meets it. */
interface LoadedRule {
  text: string
  args: readonly string[]
  /** Read when a packet first comes by: most rules of a large program never see one. */
  parsed?: ParsedRule
}

/** A table in a kernel. */
export interface Table {
  name: string
  chains: Map<string, LoadedRule[]>
}

/** How a packet's way through a table ends. */
type End = 'accept' | Refusal

/** The tables that a hook asks, in their order. */
export const tablesAt: Record<HookName, readonly ('nat' | 'filter')[]> = {
  prerouting: ['nat'],
  input: ['filter'],
  forward: ['filter'],
  output: ['nat', 'filter'],
  postrouting: ['nat'],
}

const quoted = (arg: string): string => (arg.includes(' ') ? `"${arg}"` : arg)
const loaded = ({ args }: Rule): LoadedRule => ({ args, text: args.map(quoted).join(' ') })

/** The program in an empty kernel, with the jumps from the kernel's chains. */
export function loadTables(program: IptablesProgram, jumps: readonly Jump[]): Map<string, Table> {
  const tables = withMissingJumps(program, new Map(), jumps).tables.map(({ table, chains, rules, insertions = [] }) => {
    if (table === 'mangle') throw new RangeError('iptables program: the tracer knows the tables nat and filter only')
    const byName = new Map<string, LoadedRule[]>()
    for (const chain of chains) byName.set(chain, [])
    for (const hook of Object.keys(tablesAt)) byName.set(hook.toUpperCase(), [])
    for (const rule of rules) chainOf(byName, rule.chain).push(loaded(rule))
    for (const rule of insertions) chainOf(byName, rule.chain).unshift(loaded(rule))
    return [table, { name: table, chains: byName }] as const
  })
  return new Map(tables)
}

function chainOf(chains: ReadonlyMap<string, LoadedRule[]>, name: string): LoadedRule[] {
  const chain = chains.get(name)
  if (!chain) throw new RangeError(`iptables program: it has no chain ${name}; compile it whole`)
  return chain
}

export function iptablesMachine(program: IptablesProgram): Machine {
  const tables = loadTables(program, iptablesJumps)
  // A list is named after the chain that sets it and leads to one endpoint.
  const remembers = (list: string, { remembered }: InFlight): boolean => {
    const nat = tables.get('nat')
    const rules = nat ? chainOf(nat.chains, list) : []
    return remembered !== undefined && rules.some(({ args }) => args.includes('DNAT') && args.at(-1) === remembered)
  }
  return {
    family: program.family,
    run: (hook, packet, surroundings) => {
      for (const name of tablesAt[hook]) {
        const refused = runTable(tables.get(name), hook, packet, { ...surroundings, remembers, holds })
        if (refused) return refused
      }
      return undefined
    },
  }
}

const holds = (set: string): never => {
  throw new RangeError(`iptables program: it has no IP set ${set}`)
}

/** Leads a packet through what a table has at a hook. */
export function runTable(
  table: Table | undefined,
  hook: HookName,
  packet: InFlight,
  surroundings: RuleSurroundings,
): Refusal | undefined {
  if (!table || (table.name === 'nat' && !entersNat(hook, packet))) return undefined
  const end = walk(table, hook.toUpperCase(), packet, surroundings)
  return end === 'accept' ? undefined : end
}

/** Undefined when the chain has come to its end. */
function walk(table: Table, chain: string, packet: InFlight, surroundings: RuleSurroundings): End | undefined {
  for (const rule of chainOf(table.chains, chain)) {
    const { matches, target } = (rule.parsed ??= parseIptablesRule(rule.args))
    if (!matches.every((match) => match(packet, surroundings))) continue
    packet.passed.push({ table: table.name, chain, rule: rule.text })
    switch (target.kind) {
      case 'none':
        break
      case 'effect':
        target.apply(packet)
        break
      case 'translation':
        target.apply(packet)
        return 'accept'
      case 'return':
        return undefined
      case 'chain': {
        const end = walk(table, target.chain, packet, surroundings)
        if (end) return end
        break
      }
      default:
        return target.kind
    }
  }
  return undefined
}
