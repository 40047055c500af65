// ipMasq: traffic of pods that leaves their network gets the host's address.
import { familiesOf, familyOf } from '../families.ts'
import { removalOf, removeChains } from '../iptables.ts'
import { containersOf, masqueradeChain } from '../names.ts'
import { requireRuleProgram } from '../rule-program.ts'
import type { RuleBackendName } from '../rule-program.ts'
import type { PluginCall, PluginContext } from '../sdk/define-plugin.ts'
import type { AttachmentKey, CniResult, Host } from '../types.ts'
import {
  masqueradeRemoval,
  masqueradeRules,
  nftMasqueradeRemoval,
  nftMasqueradeRules,
  nftStaleMasquerade,
  nftTable as table,
} from './masquerade-rules.ts'

export interface WithMasquerade {
  /** Absent: iptables, or nftables where iptables cannot be used. */
  ipMasqBackend?: RuleBackendName | null | undefined
}

/** Adds to the pod's change of rules. */
export function masquerade(
  { networkName, network, config: { ipMasqBackend } }: PluginCall<WithMasquerade>,
  { ips }: CniResult,
  host: Host,
): void {
  const nftChange = (own: CniResult['ips']): Parameters<Host['changeRules']>[1] => ({
    table,
    from: (saved) => nftMasqueradeRules(networkName, network, own, saved),
  })
  if (ipMasqBackend === 'nftables') return host.changeRules('nftables', nftChange(ips))
  for (const family of familiesOf(ips) ?? []) {
    const lines = masqueradeRules(networkName, network.containerId, ips, family)
    const own = ips.filter(({ address }) => familyOf(address) === family)
    host.changeRules(family, { lines, from: () => lines, ...(!ipMasqBackend && { otherwise: nftChange(own) }) })
  }
}

/** Undoes that in both backends, also where the addresses are not known. */
export function endMasquerade(
  { networkName, network, prevResult, config: { ipMasqBackend } }: PluginCall<WithMasquerade>,
  host: Host,
): void {
  const { containerId } = network
  removeChains(
    host,
    [masqueradeChain(networkName, containerId)],
    familiesOf(prevResult?.ips),
    (family) =>
      ipMasqBackend === 'nftables'
        ? undefined
        : masqueradeRemoval(networkName, containerId, prevResult?.ips ?? [], family),
    ipMasqBackend !== 'iptables' || !prevResult,
  )
  host.changeRules('nftables', {
    table,
    from: (saved) => nftMasqueradeRemoval(networkName, network, saved),
    isGuess: ipMasqBackend !== 'nftables',
  })
}

/** Takes away what is left of attachments that are none any more. */
export function endStaleMasquerade(
  { networkName, valid }: PluginContext<unknown> & { valid: readonly AttachmentKey[] },
  host: Host,
): void {
  const isStale = (id: string): boolean => !valid.some(({ containerId }) => containerId === id)
  for (const family of [4, 6] as const) {
    host.changeRules(family, {
      from: (saved) => {
        const stale = containersOf(saved, networkName).filter(isStale)
        return removalOf(
          saved,
          stale.map((id) => masqueradeChain(networkName, id)),
        )
      },
      isGuess: true,
    })
  }
  host.changeRules('nftables', {
    table,
    from: (saved) => nftStaleMasquerade(networkName, valid, saved),
    isGuess: true,
  })
}

/** @throws CniError when the machine has no program to make the rules with */
export const requireMasquerade = ({ config: { ipMasqBackend } }: PluginContext<WithMasquerade>): void =>
  requireRuleProgram(ipMasqBackend ?? undefined)
