// The rule that keeps 127.0.0.0/8 to the machine: with route_localnet its neighbours could reach it. Kubelet and proxy share it.
import { comment, type Rule } from './program.ts'

export const firewallChain = 'KUBE-FIREWALL'
const note = 'block incoming localnet connections'

const drop = '-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP'

export const localnetRule: Rule = { chain: firewallChain, args: [...comment(note), ...drop.split(' ')] }

/** Whether a printed rule is that. */
export const isLocalnetRule = ({ chain, text }: { chain: string; text: string }): boolean =>
  chain === firewallChain && text.includes(note)
