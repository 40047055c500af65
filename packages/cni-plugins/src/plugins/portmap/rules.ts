// portmap's rules in iptables. Pure.
import { familyOf } from '../../families.ts'
import { comment, hostPortChain, quoted } from '../../names.ts'
import type { PortMapping } from '../../types.ts'
import type { PortmapConfig } from './config.ts'

/** Chains that all pods share. */
export const sharedChains = ['CNI-HOSTPORT-SETMARK', 'CNI-HOSTPORT-MASQ', 'CNI-HOSTPORT-DNAT'] as const
const [setMark, masq, dnat] = sharedChains
/** As many ports as one multiport match takes. */
const portsPerRule = 15

/** What is mapped to one pod in one family. */
export interface PortmapOptions extends Pick<PortmapConfig, 'mappings' | 'snat' | 'masqAll' | 'mark'> {
  network: string
  containerId: string
  family: 4 | 6
  /** The pod's address with its prefix. */
  podAddress: string
  conditions: readonly string[]
}

/** Mappings without an address of the other family. */
export const forFamily = ({ mappings, family }: PortmapOptions): readonly PortMapping[] =>
  mappings.filter(({ hostIP }) => isAny(hostIP) || familyOf(hostIP ?? '') === family)

export const isAny = (address: string | undefined): boolean =>
  address === undefined || address === '' || /^(0\.0\.0\.0|[0:]+)$/.test(address)

/** All lines of an ADD for one family: the shared chains that `saved` lacks, then the pod's own. */
export function portmapRules(options: PortmapOptions, saved: readonly string[]): string[] {
  const own = podRules(options)
  return own.length === 0 ? [] : [...sharedRules(options, saved), ...own]
}

/** The same for a table that has the shared chains, which it checks. */
export function expectedPortmapRules(options: PortmapOptions): string[] {
  const own = podRules(options)
  return own.length === 0 ? [] : [...sharedChecks(options), ...own]
}

/** What takes a pod's rules away again. */
export function portmapRemoval(options: PortmapOptions): string[] {
  const own = podRules(options)
  if (own.length === 0) return []
  const chain = hostPortChain(options.network, options.containerId)
  const jumps = own.filter((line) => line.startsWith(`-A ${dnat} `))
  return [`:${chain} - [0:0]`, ...jumps.map((line) => `-D ${line.slice(3)}`), `-X ${chain}`]
}

/** What a pod's rules lack in a table; undefined when they are there. Looks for each port and its target, and the way to them. */
export function missingRule(options: PortmapOptions, saved: readonly string[]): string | undefined {
  const has = (start: string, ...parts: string[]): boolean =>
    saved.some((line) => line.startsWith(start) && parts.every((part) => `${line} `.includes(` ${part} `)))
  for (const line of podRules(options)) {
    const [, chain = ''] = line.split(' ')
    const [port] = /--dport \d+/.exec(line) ?? []
    const [target] = /-j .*$/.exec(line) ?? []
    if (line.startsWith('-A ') && target && !has(`-A ${chain} `, ...(port ? [port] : []), target)) return line
  }
  return ['PREROUTING', 'OUTPUT'].find((from) => !has(`-A ${from} `, `-j ${dnat}`))
}

/** The lines of the pod's own chain, and those that lead to it. */
function podRules(options: PortmapOptions): string[] {
  const { network, containerId, podAddress, snat, masqAll, family, mark } = options
  const [pod = '', prefix = ''] = podAddress.split('/')
  const mappings = forFamily(options)
  if (mappings.length === 0) return []
  const chain = hostPortChain(network, containerId)
  const lines: string[] = [`:${chain} - [0:0]`]
  const marking = 'chain' in mark ? mark.chain : setMark
  const conditions = options.conditions.map((word) => ` ${quoted(word)}`).join('')
  const note = `-m comment --comment ${comment(network, containerId, 'dnat ')}`
  for (const protocol of [...new Set(mappings.map((mapping) => mapping.protocol))].toSorted()) {
    const ports = [...new Set(mappings.filter((one) => one.protocol === protocol).map(({ hostPort }) => hostPort))]
    for (let at = 0; at < ports.length; at += portsPerRule) {
      const some = ports.slice(at, at + portsPerRule).join(',')
      lines.push(`-A ${dnat} -p ${protocol} ${note} -m multiport --dports ${some}${conditions} -j ${chain}`)
    }
  }
  for (const { protocol, hostPort, containerPort, hostIP } of mappings) {
    const to = isAny(hostIP) ? '' : ` -d ${hostIP}`
    const match = `-p ${protocol} -m ${protocol} --dport ${hostPort}${to}`
    if (snat) {
      const everyone = family === 4 ? '0.0.0.0/0' : '::/0'
      lines.push(`-A ${chain} -s ${masqAll ? everyone : `${pod}/${prefix}`} ${match} -j ${marking}`)
      if (family === 4 && !masqAll) lines.push(`-A ${chain} -s 127.0.0.1/32 ${match} -j ${marking}`)
    }
    const target = family === 4 ? `${pod}:${containerPort}` : `[${pod}]:${containerPort}`
    lines.push(`-A ${chain} ${match} -j DNAT --to-destination ${target}`)
  }
  return lines
}

const masqJump = `-m comment --comment "CNI portfwd requiring masquerade" -j ${masq}`
const dnatJump = `-m addrtype --dst-type LOCAL -j ${dnat}`

/** What the shared chains have that the pod needs, and what leads to them. */
function sharedContents({ snat, mark }: PortmapOptions): { chains: Record<string, string[]>; jumps: SharedJump[] } {
  const toPorts = ['PREROUTING', 'OUTPUT'].map((from) => ({ how: '-A', from, to: dnat, rule: dnatJump }))
  if (!snat || 'chain' in mark) return { chains: { [dnat]: [] }, jumps: toPorts }
  const bit = `0x${(2 ** mark.bit).toString(16)}`
  return {
    chains: {
      [setMark]: [`-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${bit}/${bit}`],
      [masq]: [`-m mark --mark ${bit}/${bit} -j MASQUERADE`],
      [dnat]: [],
    },
    jumps: [{ how: '-I', from: 'POSTROUTING', to: masq, rule: masqJump }, ...toPorts],
  }
}

interface SharedJump {
  /** Whether it comes first or last. */
  how: string
  from: string
  to: string
  rule: string
}

/** Of what all pods share: what is missing. */
function sharedRules(options: PortmapOptions, saved: readonly string[]): string[] {
  const { chains, jumps } = sharedContents(options)
  const has = (start: string, end = ''): boolean => saved.some((line) => line.startsWith(start) && line.endsWith(end))
  return [
    ...Object.keys(chains)
      .filter((chain) => !has(`:${chain} `))
      .map((chain) => `:${chain} - [0:0]`),
    ...Object.entries(chains)
      .filter(([chain]) => !has(`-A ${chain} `))
      .flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule}`)),
    ...jumps
      .filter(({ from, to }) => !has(`-A ${from} `, ` -j ${to}`))
      .map(({ how, from, rule }) => `${how} ${from} ${rule}`),
  ]
}

/** Refused by a table in which one of them is missing. */
function sharedChecks(options: PortmapOptions): string[] {
  const { chains, jumps } = sharedContents(options)
  return [
    ...Object.entries(chains).flatMap(([chain, rules]) => rules.map((rule) => `-C ${chain} ${rule}`)),
    ...jumps.map(({ from, rule }) => `-C ${from} ${rule}`),
  ]
}
