// portmap's rules in nftables. Pure.
import { addressBytes, addressText } from '@nodelet/linux'
import { nftComment, nftRemoval, nftRules } from '../../nftables.ts'
import type { RuleTable } from '../../types.ts'
import type { PortmapOptions } from './rules.ts'
import { forFamily, isAny } from './rules.ts'

const ports = 'hostports'
/** Where versions before had the mappings to one address of the machine: rules in it stay in force. */
const oldPorts = 'hostip_hostports'
const allPorts = 'hostports_all'
const masquerading = 'masquerading'
const natHooks = { prerouting: 'prerouting priority -100', output: 'output priority -100' } // dstnat

const kindOf = (family: 4 | 6): 'ip' | 'ip6' => (family === 4 ? 'ip' : 'ip6')
export const nftTableOf = (family: 4 | 6): RuleTable => `${kindOf(family)} cni_hostport`

/** All commands of an ADD for one family: what pods share anew, then the pod's own. */
export function nftPortmapRules(options: PortmapOptions): string[] {
  const { conditions, containerId, snat, family } = options
  const own = ownRules(options)
  if (own.length === 0) return []
  const table = nftTableOf(family)
  const note = ` comment "${nftComment(containerId)}"`
  const hooks = Object.entries(natHooks)
  return [
    `add table ${table} { comment "CNI portmap plugin"; }`,
    ...[ports, oldPorts, allPorts].map((chain) => `add chain ${table} ${chain}`),
    ...hooks.map(([chain, hook]) => `add chain ${table} ${chain} { type nat hook ${hook}; }`),
    ...(snat ? [`add chain ${table} ${masquerading} { type nat hook postrouting priority 100; }`] : []), // srcnat
    ...[allPorts, ...hooks.map(([chain]) => chain)].map((chain) => `flush chain ${table} ${chain}`),
    ...[oldPorts, ports].map((chain) => `add rule ${table} ${allPorts} jump ${chain}`),
    ...hooks.map(([chain]) =>
      ['add rule', table, chain, ...conditions, 'fib daddr type local jump', allPorts].join(' '),
    ),
    ...own.map(([chain, rule]) => `add rule ${table} ${chain} ${rule}${note}`),
  ]
}

/** What takes a pod's rules away again. */
export const nftPortmapRemoval = (family: 4 | 6, containerId: string, saved: readonly string[]): string[] =>
  nftRemoval(
    nftTableOf(family),
    saved,
    ({ chain, comment }) => [ports, oldPorts, masquerading].includes(chain) && comment === nftComment(containerId),
  )

/** What a pod's rules lack in a table; undefined when they are there. */
export function missingNftRule(options: PortmapOptions, saved: readonly string[]): string | undefined {
  const own = ownRules(options)
  if (own.length === 0) return undefined
  const rules = nftRules(saved)
  const note = nftComment(options.containerId)
  for (const [chain, rule] of own) {
    if (!rules.some(({ text, comment, ...at }) => at.chain === chain && comment === note && text === rule)) return rule
  }
  return Object.keys(natHooks).find(
    (from) => !rules.some(({ chain, text }) => chain === from && text.endsWith(`jump ${allPorts}`)),
  )
}

/** The pod's own, as they are listed, too. */
function ownRules(options: PortmapOptions): [chain: string, rule: string][] {
  const { podAddress, snat, masqAll, family } = options
  const pod = canonical(podAddress.split('/')[0] ?? '')
  const kind = kindOf(family)
  const mappings = forFamily(options)
  if (mappings.length === 0) return []
  const target = family === 4 ? pod : `[${pod}]`
  const toPod = mappings.map(({ protocol, hostPort, containerPort, hostIP }): [string, string] => {
    const at = isAny(hostIP) ? '' : `${kind} daddr ${canonical(hostIP ?? '')} `
    return [ports, `${at}${protocol} dport ${hostPort} dnat to ${target}:${containerPort}`]
  })
  const every = family === 4 ? '0.0.0.0/0' : '::/0'
  const sources = masqAll ? [every] : family === 4 ? [pod, '127.0.0.1'] : [pod]
  const back = sources.map((source): [string, string] => [
    masquerading,
    `${kind} saddr ${source} ${kind} daddr ${pod} masquerade`,
  ])
  return [...toPod, ...(snat ? back : [])]
}

const canonical = (address: string): string => addressText(addressBytes(address))
