// Texts of iptables-restore and nft in a comparable order.

const shared = new Set(['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-EXTERNAL-SERVICES', 'KUBE-PROXY-FIREWALL'])

// Sorts the rules of a shared chain: the node-port jump stays last, a rule for 127.0.0.0/8 before its twin.
const rank = (rule: string): string =>
  rule.includes('this must be the last rule') ? `~${rule}` : rule.replace(' -d 127.0.0.0/8', '  ')

const byRank = (a: string, b: string): number => (rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : 0)

const normaliseTable = (lines: readonly string[]): string[] => {
  const chains = lines.filter((line) => line.startsWith(':')).sort()
  const deletions = lines.filter((line) => line.startsWith('-X')).sort()
  const rules = Map.groupBy(
    lines.filter((line) => line.startsWith('-A ')),
    (line) => line.split(' ')[1] ?? '',
  )
  const names = [...rules.keys()].sort()
  const sorted = names.flatMap((name) => {
    const own = rules.get(name) ?? []
    return shared.has(name) ? own.toSorted(byRank) : own
  })
  return [lines[0] ?? '', ...chains, ...sorted, ...deletions, 'COMMIT']
}

/** Normalises restore text as the worked examples are: chains sorted, rules grouped by chain, shared chains sorted. */
export function normalise(text: string): string {
  const tables = text.split('COMMIT\n').filter((part) => part.trim() !== '')
  return tables.flatMap((part) => normaliseTable(part.trim().split('\n'))).join('\n') + '\n'
}

const kinds = ['table', 'chain', 'set', 'map', 'rule', 'element']

/** Normalises the text for an empty table as the worked examples are: objects by kind and name, rules in their order. */
export function normaliseNft(text: string): string {
  const added = [...new Set(text.split('\n').filter((line) => line.startsWith('add ')))]
  return kinds
    .flatMap((kind) => {
      const own = added.filter((line) => line.startsWith(`add ${kind} `))
      if (kind !== 'rule') return own.sort()
      const chains = Map.groupBy(own, (line) => line.split(' ')[4] ?? '')
      return [...chains.keys()].sort().flatMap((chain) => chains.get(chain) ?? [])
    })
    .map((line) => `${line}\n`)
    .join('')
}
