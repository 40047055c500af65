// Rules that stand whatever the Services are.
import type { NodeFacts } from '../node/facts.ts'
import { comment, type Rule } from './program.ts'

export const rule = (chain: string, ...args: readonly string[]): Rule => ({ chain, args })

/** Lets through what is forwarded and marked for masquerading, and what belongs to a connection. */
export function forwardRules(mark: string): Rule[] {
  const chain = 'KUBE-FORWARD'
  const marked = ['-m', 'mark', '--mark', `${mark}/${mark}`]
  const known = ['-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED']
  return [
    rule(chain, ...comment('kubernetes forwarding rules'), ...marked, '-j', 'ACCEPT'),
    rule(chain, ...comment('kubernetes forwarding conntrack rule'), ...known, '-j', 'ACCEPT'),
  ]
}

/** Gives the mark, and masquerades what has it. */
export function masqueradeRules({ randomFully }: NodeFacts, mark: string): Rule[] {
  const chain = 'KUBE-POSTROUTING'
  const random = randomFully ? ['--random-fully'] : []
  return [
    rule(chain, '-m', 'mark', '!', '--mark', `${mark}/${mark}`, '-j', 'RETURN'),
    rule(chain, '-j', 'MARK', '--xor-mark', mark),
    rule(chain, ...comment('kubernetes service traffic requiring SNAT'), '-j', 'MASQUERADE', ...random),
    rule('KUBE-MARK-MASQ', '-j', 'MARK', '--or-mark', mark),
  ]
}
