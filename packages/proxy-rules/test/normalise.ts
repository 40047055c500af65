// iptables-restore text in a comparable order: chains sorted, rules grouped by chain, shared chains sorted.

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

/** Normalises restore text as the worked examples are. */
export function normalise(text: string): string {
  const tables = text.split('COMMIT\n').filter((part) => part.trim() !== '')
  return tables.flatMap((part) => normaliseTable(part.trim().split('\n'))).join('\n') + '\n'
}
