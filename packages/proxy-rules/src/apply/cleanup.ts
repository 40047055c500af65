// Takes everything of the proxy out of the kernel.
import { servicePrefixes } from '../iptables/names.ts'
import type { Iptables } from './iptables-restore.ts'
import { jumpsInto } from './jumps.ts'
import type { SavedTable } from './saved.ts'

/** Made only to be missed when somebody flushes the rules. */
export const canary = 'KUBE-PROXY-CANARY'

const fixed = [
  'KUBE-SERVICES',
  'KUBE-EXTERNAL-SERVICES',
  'KUBE-FORWARD',
  'KUBE-NODEPORTS',
  'KUBE-PROXY-FIREWALL',
  'KUBE-POSTROUTING',
  'KUBE-MARK-MASQ',
  canary,
]
/** A kubelet may have rules of its own in it. */
const shared = 'KUBE-FIREWALL'
const ourSharedRule = 'block incoming localnet connections'

const isOurs = (chain: string): boolean =>
  fixed.includes(chain) || servicePrefixes.some((prefix) => chain.startsWith(prefix))

/** The text for iptables-restore that removes our chains and all jumps to them; empty when nothing is there. Pure. */
export function cleanupText(saved: ReadonlyMap<string, SavedTable>): string {
  return [...saved].map(([name, table]) => tableText(name, table)).join('')
}

function tableText(name: string, { chains, rules }: SavedTable): string {
  const inShared = rules.filter(({ chain }) => chain === shared)
  const foreign = inShared.filter(({ text }) => !text.includes(ourSharedRule))
  const goes = (chain: string): boolean =>
    isOurs(chain) || (chain === shared && inShared.length > foreign.length && foreign.length === 0)
  const doomed = new Set([...chains].filter(goes))
  const outside = rules.filter(({ chain }) => !doomed.has(chain))
  const ours = outside.filter(
    ({ chain, text }) => jumpsInto(text, doomed) || (chain === shared && text.includes(ourSharedRule)),
  )
  if (doomed.size === 0 && ours.length === 0) return ''
  return [
    `*${name}`,
    ...[...doomed].map((chain) => `:${chain} - [0:0]`),
    ...ours.map(({ chain, text }) => `-D ${chain} ${text}`),
    ...[...doomed].map((chain) => `-X ${chain}`),
    'COMMIT\n',
  ].join('\n')
}

/** Safe to run again. @throws Error when iptables refuses */
export async function cleanUp(iptables: Iptables): Promise<void> {
  const text = cleanupText(await iptables.save())
  if (text !== '') await iptables.restore(text)
}
