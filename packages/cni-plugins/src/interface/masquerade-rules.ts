// ipMasq: traffic of pods that leaves their network gets the host's address. Pure.
import { familyOf } from '../families.ts'
import { comment, masqueradeChain } from '../names.ts'
import type { CniResult } from '../types.ts'

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
