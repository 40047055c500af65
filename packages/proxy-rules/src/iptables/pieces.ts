// Large programs in several loads: iptables-nft-restore looks for each chain among all those of its input, one by one.
import type { IptablesVariant } from '../apply/iptables-variant.ts'
import { isServiceChain } from './names.ts'
import type { IptablesProgram, Rule, TableProgram } from './program.ts'

/**
 * Chains in one load. With `nft` a load takes the square of their number in time, from some hundred on. With `legacy` each load
 * replaces the whole table, so that it is always one.
 */
export const chainsAtOnce: Readonly<Record<IptablesVariant, number>> = { nft: 500, legacy: Infinity }

/** Every service chain leads there. */
const markChain = 'KUBE-MARK-MASQ'

/**
 * Programs that, loaded one after the other, do what `program` does; one alone where it has no more than `most` chains. All but
 * the last write chains of Services only, each with whatever it leads to, which no packet enters before the last one has
 * written the shared chains or which are rewritten as a whole; what nothing uses any more goes after that. Pure.
 */
export function inPieces(program: IptablesProgram, most: number): IptablesProgram[] {
  const nat = program.tables.find(({ table }) => table === 'nat')
  if (!nat || nat.chains.length <= most) return [program]
  const deleted = new Set(nat.deletions)
  const groups = servicesTogether(
    nat.chains.filter((chain) => isServiceChain(chain) && !deleted.has(chain)),
    most,
  )
  const groupOf = new Map(groups.flatMap((chains, index) => chains.map((chain) => [chain, index] as const)))
  const rules: Rule[][] = groups.map(() => [])
  const shared: Rule[] = []
  for (const rule of nat.rules) (rules[groupOf.get(rule.chain) ?? -1] ?? shared).push(rule)
  const part = (chains: readonly string[], own: readonly Rule[], deletions: readonly string[]): IptablesProgram => ({
    family: program.family,
    tables: [{ table: 'nat', chains, rules: own, deletions }],
  })
  const fixed = nat.chains.filter((chain) => !groupOf.has(chain) && !deleted.has(chain))
  const last: TableProgram = { ...nat, chains: fixed, rules: shared, deletions: [] }
  const marking = shared.filter(({ chain }) => chain === markChain)
  return [
    part([markChain], marking, []),
    ...groups.map((chains, index) => part(chains, rules[index] ?? [], [])),
    { ...program, tables: program.tables.map((table) => (table === nat ? last : table)) },
    ...deletableInPieces(nat.deletions, most).map((chains) => part(chains, [], chains)),
  ]
}

/** A service port's endpoint chains come right after the chains that lead to them: cuts are before the first of a port. */
function servicesTogether(chains: readonly string[], most: number): string[][] {
  const groups: string[][] = []
  let previous = ''
  for (const chain of chains) {
    const begins = isEndpointChain(previous) && !isEndpointChain(chain)
    const group = groups.at(-1)
    if (!group || (begins && group.length >= most)) groups.push([chain])
    else group.push(chain)
    previous = chain
  }
  return groups
}

const isEndpointChain = (chain: string): boolean => chain.startsWith('KUBE-SEP-')

/** A chain can be deleted when none leads to it: firewalls lead to external chains, these to policies, and these to endpoints. */
const deletionOrder = ['KUBE-FW-', 'KUBE-EXT-', 'KUBE-SV', 'KUBE-SEP-']

/** Service chains that nothing else leads to, in groups that can be emptied and deleted one after the other. Pure. */
export function deletableInPieces(chains: readonly string[], most: number): string[][] {
  const rank = (chain: string): number => deletionOrder.findIndex((prefix) => chain.startsWith(prefix))
  const ordered = chains.toSorted((a, b) => rank(a) - rank(b))
  return Array.from({ length: Math.ceil(ordered.length / most) }, (_, index) =>
    ordered.slice(index * most, (index + 1) * most),
  )
}
