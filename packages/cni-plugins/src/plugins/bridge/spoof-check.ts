// macspoofchk: a pod may only send from its own MAC.
import { CniError, cniCode } from '../../errors.ts'
import type { LinkEnd } from '../../interface/veth.ts'
import { nftComment, nftRemoval, nftRules } from '../../nftables.ts'
import type { NftRule } from '../../nftables.ts'
import type { PluginCall } from '../../sdk/define-plugin.ts'
import type { AttachmentKey, Host } from '../../types.ts'

export const table = 'bridge nat'
const base = 'PREROUTING'
/** nftables has no quotes for names of chains. */
const chainName = /^[\w./-]+$/

const [ownChain, ownNote] = ['cni-br-iface-', 'macspoofchk-']
const chainsOf = ({ containerId, ifName }: AttachmentKey): [iface: string, mac: string] => {
  const iface = `${ownChain}${containerId}-${ifName}`
  return [iface, `${iface}-mac`]
}
const noteOf = ({ containerId, ifName }: AttachmentKey): string => nftComment(`${ownNote}${containerId}-${ifName}`)

/** What lets only frames from this MAC in by the port. Pure. */
export function spoofRules(attachment: AttachmentKey, port: string, mac: string): string[] {
  const [iface, ownMac] = chainsOf(attachment)
  const add = (chain: string, rule: string): string =>
    `add rule ${table} ${chain} ${rule} comment "${noteOf(attachment)}"`
  return [
    `add table ${table}`,
    `add chain ${table} ${base} { type filter hook prerouting priority -300; policy accept; }`,
    ...[iface, ownMac].flatMap((chain) => [`add chain ${table} ${chain}`, `flush chain ${table} ${chain}`]),
    add(base, `iifname "${port}" jump ${iface}`),
    add(iface, `jump ${ownMac}`),
    add(ownMac, `ether saddr ${mac} return`),
    add(ownMac, 'drop'),
  ]
}

/** What takes that away: the way to the chains, then the chains. Pure. */
export function spoofRemoval(attachment: AttachmentKey, saved: readonly string[]): string[] {
  const note = noteOf(attachment)
  const there = chainsOf(attachment).filter((chain) => saved.some((line) => line.startsWith(`\tchain ${chain} {`)))
  return [
    ...nftRemoval(table, saved, ({ chain, comment }) => chain === base && comment === note),
    ...there.flatMap((chain) => [`flush chain ${table} ${chain}`, `delete chain ${table} ${chain}`]),
  ]
}

/** What takes away those of all pods, and the table where nothing else is in it. Pure. */
export function spoofRemovalOfAll(saved: readonly string[]): string[] {
  const chains = saved.flatMap((line) => /^\tchain (\S+) \{/.exec(line)?.[1] ?? [])
  const own = chains.filter((chain) => chain.startsWith(ownChain))
  const isOwn = ({ chain, comment = '' }: NftRule): boolean => chain === base && comment.startsWith(ownNote)
  const isAlone = chains.includes(base) && chains.every((chain) => chain === base || own.includes(chain))
  const others = nftRules(saved).filter((rule) => !own.includes(rule.chain) && !isOwn(rule))
  if (isAlone && others.length === 0) return [`delete table ${table}`]
  return [
    ...nftRemoval(table, saved, isOwn),
    ...own.map((chain) => `flush chain ${table} ${chain}`), // they lead to each other
    ...own.map((chain) => `delete chain ${table} ${chain}`),
  ]
}

/** Adds to the pod's change of rules. @throws CniError when chains cannot be named after the link */
export function checkSpoofing({ network }: PluginCall<unknown>, host: Host, port: LinkEnd, mac: string): void {
  if (!chainName.test(network.ifName)) {
    const message = `bridge: macspoofchk: no chain can be named after ${JSON.stringify(network.ifName)}`
    throw new CniError(cniCode.badEnvironment, message)
  }
  host.changeRules('nftables', { table, lines: spoofRules(network, port.name, mac) })
}

/** Undoes that. */
export function endSpoofCheck({ network }: PluginCall<unknown>, host: Host): void {
  host.changeRules('nftables', { table, from: (saved) => spoofRemoval(network, saved) })
}
