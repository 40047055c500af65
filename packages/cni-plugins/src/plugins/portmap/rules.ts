// portmap's rules. Pure.
import { familyOf } from '../../families.ts'
import { comment, hostPortChain } from '../../names.ts'
import type { PortMapping } from '../../types.ts'

export const sharedChains = ['CNI-HOSTPORT-SETMARK', 'CNI-HOSTPORT-MASQ', 'CNI-HOSTPORT-DNAT'] as const
const [setMark, masq, dnat] = sharedChains
/** As many ports as one multiport match takes. */
const portsPerRule = 15

export interface PortmapOptions {
  network: string
  containerId: string
  mappings: readonly PortMapping[]
  /** The pod's address with its prefix. */
  podAddress: string
  snat: boolean
  /** Masquerades every source, not only the pod's network and this machine. */
  masqAll: boolean
  markBit: number
}

const isAny = (address: string | undefined): boolean =>
  address === undefined || address === '' || /^(0\.0\.0\.0|::)$/.test(address)

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
  const { network, containerId, podAddress, snat, masqAll } = options
  const [pod = '', prefix = ''] = podAddress.split('/')
  const family = familyOf(pod)
  const mappings = options.mappings.filter(({ hostIP }) => isAny(hostIP) || familyOf(hostIP ?? '') === family)
  if (mappings.length === 0) return []
  const chain = hostPortChain(network, containerId)
  const lines: string[] = [`:${chain} - [0:0]`]
  const note = `-m comment --comment ${comment(network, containerId, 'dnat ')}`
  for (const protocol of [...new Set(mappings.map((mapping) => mapping.protocol))].toSorted()) {
    const ports = [...new Set(mappings.filter((one) => one.protocol === protocol).map(({ hostPort }) => hostPort))]
    for (let at = 0; at < ports.length; at += portsPerRule) {
      const some = ports.slice(at, at + portsPerRule).join(',')
      lines.push(`-A ${dnat} -p ${protocol} ${note} -m multiport --dports ${some} -j ${chain}`)
    }
  }
  for (const { protocol, hostPort, containerPort, hostIP } of mappings) {
    const to = isAny(hostIP) ? '' : ` -d ${hostIP}`
    const match = `-p ${protocol} -m ${protocol} --dport ${hostPort}${to}`
    if (snat) {
      const everyone = family === 4 ? '0.0.0.0/0' : '::/0'
      lines.push(`-A ${chain} -s ${masqAll ? everyone : `${pod}/${prefix}`} ${match} -j ${setMark}`)
      if (family === 4 && !masqAll) lines.push(`-A ${chain} -s 127.0.0.1/32 ${match} -j ${setMark}`)
    }
    const target = family === 4 ? `${pod}:${containerPort}` : `[${pod}]:${containerPort}`
    lines.push(`-A ${chain} ${match} -j DNAT --to-destination ${target}`)
  }
  return lines
}

/** What the shared chains have. */
function sharedContents({ markBit }: PortmapOptions): Record<string, string[]> {
  const mark = `0x${(2 ** markBit).toString(16)}`
  return {
    [setMark]: [`-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${mark}/${mark}`],
    [masq]: [`-m mark --mark ${mark}/${mark} -j MASQUERADE`],
    [dnat]: [],
  }
}

const masqJump = `-m comment --comment "CNI portfwd requiring masquerade" -j ${masq}`
const dnatJump = `-m addrtype --dst-type LOCAL -j ${dnat}`

/** Of the chains that all pods share: what is missing. */
function sharedRules(options: PortmapOptions, saved: readonly string[]): string[] {
  const contents = sharedContents(options)
  const missing = sharedChains.filter((chain) => !saved.some((line) => line.startsWith(`:${chain} `)))
  const hasJump = (from: string, to: string): boolean =>
    saved.some((line) => line.startsWith(`-A ${from} `) && line.endsWith(` -j ${to}`))
  return [
    ...missing.map((chain) => `:${chain} - [0:0]`),
    ...sharedChains
      .filter((chain) => !saved.some((line) => line.startsWith(`-A ${chain} `)))
      .flatMap((chain) => (contents[chain] ?? []).map((rule) => `-A ${chain} ${rule}`)),
    ...(hasJump('POSTROUTING', masq) ? [] : [`-I POSTROUTING ${masqJump}`]),
    ...['PREROUTING', 'OUTPUT'].filter((from) => !hasJump(from, dnat)).map((from) => `-A ${from} ${dnatJump}`),
  ]
}

/** Refused by a table in which one of them is missing. */
function sharedChecks(options: PortmapOptions): string[] {
  const contents = Object.entries(sharedContents(options))
  return [
    ...contents.flatMap(([chain, rules]) => rules.map((rule) => `-C ${chain} ${rule}`)),
    `-C POSTROUTING ${masqJump}`,
    ...['PREROUTING', 'OUTPUT'].map((from) => `-C ${from} ${dnatJump}`),
  ]
}
