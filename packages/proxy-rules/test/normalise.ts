// Texts of iptables-restore and nft, and IPVS programs, in a comparable order.
import { iptablesText } from '@nodelet/proxy-rules'
import type { IpvsProgram, VirtualServer } from '@nodelet/proxy-rules'
import { createIpvsLedger } from '../src/ipvs/ledger.ts'
import { entryText } from '../src/ipvs/sets.ts'

const sharedChains = ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-EXTERNAL-SERVICES', 'KUBE-PROXY-FIREWALL']
const sharedIpvsChains = ['KUBE-IPVS-OUT-FILTER']

// Sorts the rules of a shared chain: the node-port jump stays last, a rule for 127.0.0.0/8 before its twin.
const rank = (rule: string): string =>
  rule.includes('this must be the last rule') ? `~${rule}` : rule.replace(' -d 127.0.0.0/8', '  ')

const byRank = (a: string, b: string): number => (rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : 0)

const normaliseTable = (lines: readonly string[], shared: readonly string[]): string[] => {
  const chains = lines.filter((line) => line.startsWith(':')).sort()
  const deletions = lines.filter((line) => line.startsWith('-X')).sort()
  const rules = Map.groupBy(
    lines.filter((line) => line.startsWith('-A ')),
    (line) => line.split(' ')[1] ?? '',
  )
  const names = [...rules.keys()].sort()
  const sorted = names.flatMap((name) => {
    const own = rules.get(name) ?? []
    return shared.includes(name) ? own.toSorted(byRank) : own
  })
  return [lines[0] ?? '', ...chains, ...sorted, ...deletions, 'COMMIT']
}

/** Normalises restore text as the worked examples are: chains sorted, rules grouped by chain, shared chains sorted. */
export function normalise(text: string, shared: readonly string[] = sharedChains): string {
  const tables = text.split('COMMIT\n').filter((part) => part.trim() !== '')
  return tables.flatMap((part) => normaliseTable(part.trim().split('\n'), shared)).join('\n') + '\n'
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

const hex = (flags: number): string => `0x${flags.toString(16)}`
const inBrackets = (address: string): string => (address.includes(':') ? `[${address}]` : address)

function ipvsLines({
  protocol,
  address,
  port,
  scheduler,
  flags,
  timeoutSeconds,
  realServers,
}: VirtualServer): string[] {
  const real = realServers.map((one) => `  real ${inBrackets(one.address)}:${one.port} weight=${one.weight}`)
  return [`virtual ${protocol} ${address}:${port} ${scheduler} flags=${hex(flags)} timeout=${timeoutSeconds}`, ...real]
}

/** Writes all of a program as the worked examples do: addresses, servers by address, sets by name, the glue. */
export function normaliseIpvs(program: IpvsProgram): string {
  const { virtualServers, addresses, entries } = createIpvsLedger().update(program)
  const servers = virtualServers.map(({ after }) => after).filter((server) => server !== undefined)
  const place = ({ address, port, protocol }: VirtualServer): string => `${address}:${port}/${protocol}`
  const family = program.family === 'IPv4' ? 'inet' : 'inet6'
  const sets = program.sets
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name, type }) => {
      const own = entries.added.filter(({ set }) => set === name)
      return [`set ${name} ${type} ${family}`, ...own.map((entry) => `  entry ${entryText(entry)}`).sort()]
    })
  const lines = [
    '# addresses on kube-ipvs0',
    ...addresses.added.map((address) => `addr ${address}`).sort(),
    '# ipvs (persistent = flag 0x1 with timeout seconds)',
    ...servers.sort((a, b) => (place(a) < place(b) ? -1 : 1)).flatMap(ipvsLines),
    '# ipsets',
    ...sets,
    '# iptables-restore input (rules in chain order as written)',
  ]
  return `${lines.join('\n')}\n${normalise(iptablesText(program.glue), sharedIpvsChains)}`
}
