// Rules that stand whatever the Services are.
import type { NodeFacts } from '../node/facts.ts'
import { comment, type TableBuilder } from './program.ts'

/** Lets through what is forwarded and marked for masquerading, and what belongs to a connection. */
export function addForwardRules(filter: TableBuilder, mark: string): void {
  const forward = 'KUBE-FORWARD'
  const marked = ['-m', 'mark', '--mark', `${mark}/${mark}`]
  filter.add(forward, ...comment('kubernetes forwarding rules'), ...marked, '-j', 'ACCEPT')
  const known = ['-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED']
  filter.add(forward, ...comment('kubernetes forwarding conntrack rule'), ...known, '-j', 'ACCEPT')
}

/** Gives the mark, and masquerades what has it. */
export function addMasqueradeRules(nat: TableBuilder, { randomFully }: NodeFacts, mark: string): void {
  const post = 'KUBE-POSTROUTING'
  nat.add(post, '-m', 'mark', '!', '--mark', `${mark}/${mark}`, '-j', 'RETURN')
  nat.add(post, '-j', 'MARK', '--xor-mark', mark)
  const random = randomFully ? ['--random-fully'] : []
  nat.add(post, ...comment('kubernetes service traffic requiring SNAT'), '-j', 'MASQUERADE', ...random)
  nat.add('KUBE-MARK-MASQ', '-j', 'MARK', '--or-mark', mark)
}
