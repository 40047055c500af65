// ipMasq: traffic of pods that leaves their network gets the host's address.
import { familiesOf } from '../families.ts'
import { removeChains } from '../iptables.ts'
import { masqueradeChain } from '../names.ts'
import type { PluginCall } from '../sdk/define-plugin.ts'
import type { CniResult, Host } from '../types.ts'
import { masqueradeRemoval, masqueradeRules } from './masquerade-rules.ts'

/** Adds to the pod's change of rules. */
export function masquerade(
  { networkName, network: { containerId } }: PluginCall<unknown>,
  { ips }: CniResult,
  host: Host,
): void {
  for (const family of familiesOf(ips) ?? []) {
    const lines = masqueradeRules(networkName, containerId, ips, family)
    host.changeRules(family, { lines, from: () => lines })
  }
}

/** Undoes that, also where the addresses are not known. */
export function endMasquerade({ networkName, network, prevResult }: PluginCall<unknown>, host: Host): void {
  const { containerId } = network
  removeChains(host, [masqueradeChain(networkName, containerId)], familiesOf(prevResult?.ips), (family) =>
    masqueradeRemoval(networkName, containerId, prevResult?.ips ?? [], family),
  )
}
