// What iptables-save prints, as far as the proxy looks at it. Pure.
import { isServiceChain } from '../iptables/names.ts'
import { sharedChains } from '../iptables/service-part.ts'

/** One table as the kernel has it. */
export interface SavedTable {
  chains: ReadonlySet<string>
  /** Rules of each chain that has some; none of chains of single Services. */
  counts: ReadonlyMap<string, number>
  /**
   * Without `-A`: the chain, then the rule as iptables prints it. None of the chains of single Services, and the first {@link fewRules}
   * alone of those that hold rules of all Services: there are too many.
   */
  rules: readonly { chain: string; text: string }[]
}

/** Table name → table. */
export type SavedTables = ReadonlyMap<string, SavedTable>

/** Takes the text in pieces, as it comes. */
export interface SavedReader {
  add(text: string): void
  /** Once all has come. */
  end(): SavedTables
}

export const fewRules = 64

const ofServices = new Set<string>(sharedChains.map(({ chain }) => chain))

/** Most lines of a large cluster are rules of a chain of one Service: nothing is made of these. */
const isOfService = (line: string): boolean =>
  line.startsWith('-A KUBE-S') && (line.startsWith('EP-', 9) || line.startsWith('VC-', 9) || line.startsWith('VL-', 9))

/** Lines that are not understood are passed over. */
export function createSavedReader(): SavedReader {
  const tables = new Map<string, SavedTable>()
  let chains = new Set<string>()
  let counts = new Map<string, number>()
  let rules: { chain: string; text: string }[] = []
  let rest = ''
  const addLine = (line: string): void => {
    if (line.startsWith('*')) {
      chains = new Set()
      counts = new Map()
      rules = []
      tables.set(line.slice(1).trimEnd(), { chains, counts, rules })
    } else if (line.startsWith(':')) chains.add(line.slice(1).split(' ', 1)[0] ?? '')
    else if (!isOfService(line)) {
      const [, chain, text] = /^(?:\[\d+:\d+\] )?-A (\S+) (.*)$/.exec(line) ?? []
      if (chain === undefined || text === undefined) return
      const count = (counts.get(chain) ?? 0) + 1
      counts.set(chain, count)
      if (!isServiceChain(chain) && (count <= fewRules || !ofServices.has(chain))) rules.push({ chain, text })
    }
  }
  return {
    add: (text) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) addLine(line)
    },
    end: () => {
      addLine(rest)
      return tables
    },
  }
}

export function parseSaved(text: string): SavedTables {
  const reader = createSavedReader()
  reader.add(text)
  return reader.end()
}
