// What goes into the tables in one run of iptables-restore, or in several: what iptables-nft-restore does with many chains at once takes
// the square of their number in time.
import { eachInTurn, type Steps } from '../slices.ts'
import { TextChunks, type TextPiece } from '../text-chunks.ts'
import { chainLine } from './text.ts'

/** A text in pieces, for one run. */
export type LoadText = readonly TextPiece[]

export type TableName = 'filter' | 'nat'

/** What is written. */
export interface Load {
  filter: TableLoad
  nat: TableLoad
  /** Chains of the table nat that no packet enters before the rest is loaded, or that may be written before it: each group after the other. */
  groups: readonly ChainGroup[]
  /** Chains of service ports in the table nat that nothing uses any more. */
  stale: readonly string[]
}

/** Chains that are made or emptied, and lines that then change them or others. */
export interface TableLoad {
  chains: readonly string[]
  /** In pieces. */
  lines: LoadText
  /** Of the rules that they write. */
  count: number
}

export interface ChainGroup {
  chains: readonly string[]
  /** In pieces, each of whole lines. */
  rules: LoadText
  /** Of the rules. */
  count: number
}

/** Collects the chains of one service port after the other. */
export class ChainGroups {
  readonly #most: number
  readonly #groups: ChainGroup[] = []
  #chains: string[] = []
  #rules = new TextChunks()
  #count = 0

  /** @param most chains after which a new group begins: those of a service port, which lead to each other, stay together */
  constructor(most: number) {
    this.#most = most
  }

  add(chains: Iterable<readonly [chain: string, texts: readonly string[]]>): void {
    if (this.#chains.length >= this.#most) this.cut()
    for (const [chain, texts] of chains) {
      this.#chains.push(chain)
      for (const text of texts) this.#rules.add(`-A ${chain} ${text}`)
      this.#count += texts.length
    }
  }

  /** What comes now is in another group. */
  cut(): void {
    if (this.#chains.length > 0) {
      this.#groups.push({ chains: this.#chains, rules: this.#rules.end(), count: this.#count })
    }
    this.#chains = []
    this.#rules = new TextChunks()
    this.#count = 0
  }

  end(): readonly ChainGroup[] {
    this.cut()
    return this.#groups
  }
}

/**
 * The inputs for `iptables-restore --noflush --counters`, one after the other; none when there is nothing to do.
 *
 * @param most chains of service ports in one of them
 */
export function* loadTextsInTurn(load: Load, most: number): Steps<readonly LoadText[]> {
  const { filter, nat, groups, stale } = load
  const count = groups.reduce((sum, { chains }) => sum + chains.length, stale.length)
  const texts: LoadText[] = []
  if (count <= most) {
    const text = new TextChunks()
    yield* addTable(text, 'filter', { ...filter, groups: [], stale: [] })
    yield* addTable(text, 'nat', { ...nat, groups, stale })
    texts.push(text.end())
  } else {
    for (const group of groups)
      texts.push(yield* tableText('nat', { chains: [], lines: [], groups: [group], stale: [] }))
    const text = new TextChunks()
    yield* addTable(text, 'filter', { ...filter, groups: [], stale: [] })
    yield* addTable(text, 'nat', { ...nat, groups: [], stale: [] })
    texts.push(text.end())
    for (const chains of deletableInPieces(stale, most))
      texts.push(yield* tableText('nat', { chains: [], lines: [], groups: [], stale: chains }))
  }
  return texts.filter((pieces) => pieces.length > 0)
}

type TableParts = Omit<TableLoad, 'count'> & Pick<Load, 'groups' | 'stale'>

function* tableText(table: TableName, parts: TableParts): Steps<LoadText> {
  const text = new TextChunks()
  yield* addTable(text, table, parts)
  return text.end()
}

function* addTable(text: TextChunks, table: TableName, { chains, lines, groups, stale }: TableParts): Steps<void> {
  if (chains.length + lines.length + groups.length + stale.length === 0) return
  text.add(`*${table}`)
  // All stale chains are emptied before the first is deleted: they may lead to each other.
  for (const list of [chains, ...groups.map((group) => group.chains), stale])
    yield* eachInTurn(list, (chain) => text.add(chainLine(chain)))
  text.append(lines)
  for (const { rules } of groups) text.append(rules)
  yield* eachInTurn(stale, (chain) => text.add(`-X ${chain}`))
  text.add('COMMIT')
}

/** A chain can be deleted when none leads to it: firewalls lead to external chains, these to policies, and these to endpoints. */
const deletionOrder = ['KUBE-FW-', 'KUBE-EXT-', 'KUBE-SV', 'KUBE-SEP-']

/** Chains of service ports to which nothing else leads, in groups that can be emptied and deleted one after the other. Pure. */
export function deletableInPieces(chains: readonly string[], most: number): string[][] {
  const ordered = deletionOrder.flatMap((prefix) => chains.filter((chain) => chain.startsWith(prefix)))
  return Array.from({ length: Math.ceil(ordered.length / most) }, (_, at) => ordered.slice(at * most, (at + 1) * most))
}
