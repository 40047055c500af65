// ipMasq: traffic of pods that leaves their network gets the host's address. Pure.
import { familyOf } from '../families.ts'
import { comment, masqueradeChain, nftMark } from '../names.ts'
import { nftComment, nftRemoval } from '../nftables.ts'
import { networkOf } from '../prefix.ts'
import type { AttachmentKey, CniResult, RuleTable } from '../types.ts'

const multicast = { 4: '224.0.0.0/4', 6: 'ff00::/8' }

/** Takes them away again. */
export function masqueradeRemoval(
  network: string,
  containerId: string,
  ips: CniResult['ips'],
  family: 4 | 6,
): string[] {
  const chain = masqueradeChain(network, containerId)
  const added = masqueradeRules(network, containerId, ips, family)
  const jumps = added.filter((line) => line.startsWith('-A POSTROUTING '))
  return [`:${chain} - [0:0]`, ...jumps.map((line) => `-D ${line.slice(3)}`), `-X ${chain}`]
}

/** The lines of one family that masquerade a pod's addresses. */
export function masqueradeRules(network: string, containerId: string, ips: CniResult['ips'], family: 4 | 6): string[] {
  const own = ips.map(({ address }) => address).filter((address) => familyOf(address) === family)
  if (own.length === 0) return []
  const chain = masqueradeChain(network, containerId)
  const note = `-m comment --comment ${comment(network, containerId)}`
  return [
    `:${chain} - [0:0]`,
    ...own.map((address) => `-A ${chain} -d ${address} ${note} -j ACCEPT`),
    `-A ${chain} ! -d ${multicast[family]} ${note} -j MASQUERADE`,
    ...own.map((address) => `-A POSTROUTING -s ${address.split('/')[0]} ${note} -j ${chain}`),
  ]
}

export const nftTable: RuleTable = 'inet cni_plugins_masquerade'
const [checks, postrouting] = ['masq_checks', 'postrouting']
const ownTable = 'Masquerading for plugins of CNI'

const nftFamily = (address: string): string => (familyOf(address) === 4 ? 'ip' : 'ip6')

/** The commands that masquerade a pod's addresses in place of what was there for the same attachment. */
export function nftMasqueradeRules(
  network: string,
  attachment: AttachmentKey,
  ips: CniResult['ips'],
  saved: readonly string[],
): string[] {
  const { ifName, containerId } = attachment
  const mark = nftMark(network, attachment)
  const note = nftComment(`${mark}, net: ${network}, if: ${ifName}, id: ${containerId}`)
  const rules = ips.map(({ address }) => {
    const [[ip = ''], kind] = [address.split('/'), nftFamily(address)]
    return `${kind} saddr == ${ip} ${kind} daddr != ${networkOf(address)} masquerade comment "${note}"`
  })
  // Each family's are replaced with it: two changes of one pod may come together.
  const isReplaced = (text: string): boolean => ips.some(({ address }) => text.startsWith(`${nftFamily(address)} `))
  return [
    `add table ${nftTable} { comment "${ownTable}"; }`,
    `add chain ${nftTable} ${checks}`,
    `add chain ${nftTable} ${postrouting} { type nat hook postrouting priority 100; }`, // srcnat
    `flush chain ${nftTable} ${postrouting}`,
    ...[`ip daddr == ${multicast[4]} return`, `ip6 daddr == ${multicast[6]} return`, `goto ${checks}`].map(
      (rule) => `add rule ${nftTable} ${postrouting} ${rule}`,
    ),
    ...nftRemoval(nftTable, saved, ({ comment: own = '', text }) => own.startsWith(mark) && isReplaced(text)),
    ...rules.map((rule) => `add rule ${nftTable} ${checks} ${rule}`),
  ]
}

/** Takes them away again. */
export function nftMasqueradeRemoval(network: string, attachment: AttachmentKey, saved: readonly string[]): string[] {
  const mark = nftMark(network, attachment)
  return nftRemoval(nftTable, saved, ({ comment: own = '' }) => own.startsWith(mark))
}

/** Takes away what the network has for others than these. */
export function nftStaleMasquerade(
  network: string,
  valid: readonly AttachmentKey[],
  saved: readonly string[],
): string[] {
  const kept = valid.map((attachment) => nftMark(network, attachment))
  return nftRemoval(
    nftTable,
    saved,
    ({ comment: own = '' }) => own.startsWith(nftMark(network)) && !kept.some((mark) => own.startsWith(mark)),
  )
}
