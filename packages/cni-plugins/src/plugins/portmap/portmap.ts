// portmap: ports of the host that lead to the pod.
import { openNetlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familiesOf, familyOf } from '../../families.ts'
import { removalOf, removeChains } from '../../iptables.ts'
import { containersOf, hostPortChain, oldHostPortChain } from '../../names.ts'
import { requireRuleProgram } from '../../rule-program.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import { setSysctl } from '../../sysctl.ts'
import type { CniResult, Host, RuleChange } from '../../types.ts'
import { parsePortmap } from './config.ts'
import type { PortmapConfig } from './config.ts'
import { forgetFlows } from './flows.ts'
import { missingNftRule, nftPortmapRemoval, nftPortmapRules, nftTableOf } from './nft-rules.ts'
import { expectedPortmapRules, forFamily, missingRule, portmapRemoval, portmapRules } from './rules.ts'
import type { PortmapOptions } from './rules.ts'

const families = [4, 6] as const

export const portmap: DefinedPlugin = definePlugin<PortmapConfig>({
  name: 'portmap',
  config: parsePortmap,
  async add(call, host) {
    const { prevResult } = call
    if (!prevResult) throw new CniError(cniCode.badConfig, 'must be called as chained plugin')
    for (const family of families) {
      const options = optionsOf(call, prevResult, family)
      if (!options) continue
      const { podAddress, snat } = options
      const after = async (): Promise<void> => forgetFlows(host, family, udpPorts(options))
      change(call, host, family, {
        iptables: { lines: expectedPortmapRules(options), from: (saved) => portmapRules(options, saved), after },
        nftables: { lines: nftPortmapRules(options), after },
      })
      if (snat && family === 4) await allowLoopback(host, podAddress.split('/')[0] ?? '')
    }
    return prevResult
  },

  /** A look at the tables that changes nothing. */
  async check(call, host) {
    for (const family of families) {
      const options = optionsOf(call, call.prevResult, family)
      if (!options) continue
      change(call, host, family, {
        iptables: { from: (saved) => told('nat', missingRule(options, saved)) },
        nftables: { from: (saved) => told(nftTableOf(family), missingNftRule(options, saved)) },
      })
    }
  },

  async del(call, host) {
    const { config, networkName, network, prevResult, isLost } = call
    const { containerId } = network
    if (config.mappings.length === 0 && !isLost) return
    const known = familiesOf(prevResult?.ips)
    if (config.backend !== 'nftables') {
      const chains = chainsOf(networkName, containerId)
      const linesOf = (family: 4 | 6): string[] | undefined => {
        const options = prevResult && optionsOf(call, prevResult, family)
        return options && portmapRemoval(options)
      }
      removeChains(host, chains, known, linesOf, !config.backend || !known)
    }
    if (config.backend === 'iptables') return
    for (const family of known ?? families) {
      const from = (saved: readonly string[]): string[] => nftPortmapRemoval(family, containerId, saved)
      host.changeRules('nftables', { table: nftTableOf(family), from, isGuess: !config.backend })
    }
  },

  /** The rules of nftables do not tell whose network they are of. */
  async gc({ config, networkName, valid }, host) {
    if (config.backend === 'nftables') return
    const isStale = (id: string): boolean => !valid.some(({ containerId }) => containerId === id)
    for (const family of families) {
      host.changeRules(family, {
        from: (saved) => {
          const stale = containersOf(saved, networkName).filter(isStale)
          return removalOf(
            saved,
            stale.flatMap((id) => chainsOf(networkName, id)),
          )
        },
        isGuess: true,
        ...(!config.backend && { otherwise: { table: nftTableOf(family), from: () => [] } }),
      })
    }
  },

  async status({ config }) {
    requireRuleProgram(config.backend)
  },
})

const chainsOf = (network: string, containerId: string): string[] => [
  hostPortChain(network, containerId),
  oldHostPortChain(network, containerId),
]

/** In the backend that is asked for; in nftables where iptables is only the first choice and cannot be used. */
function change(
  { config: { backend } }: PluginCall<PortmapConfig>,
  host: Host,
  family: 4 | 6,
  changes: Record<'iptables' | 'nftables', Omit<RuleChange, 'table'>>,
): void {
  const nftables = { ...changes.nftables, table: nftTableOf(family) }
  if (backend === 'nftables') host.changeRules('nftables', nftables)
  else host.changeRules(family, { ...changes.iptables, ...(!backend && { otherwise: nftables }) })
}

/** @throws CniError for what is missing */
function told(table: string, missing: string | undefined): readonly string[] {
  if (missing === undefined) return []
  throw new CniError(cniCode.internal, `portmap: rules are missing in table ${table}: ${missing}`)
}

const udpPorts = (options: PortmapOptions): number[] =>
  forFamily(options)
    .filter(({ protocol }) => protocol === 'udp')
    .map(({ hostPort }) => hostPort)

/** Undefined when there is nothing to map in that family. */
function optionsOf(
  { config, networkName, network: { containerId, ifName } }: PluginCall<PortmapConfig>,
  result: CniResult,
  family: 4 | 6,
): PortmapOptions | undefined {
  const { conditions, ...rest } = config
  const podAddress = podAddressOf(result, ifName, family)
  if (config.mappings.length === 0 || podAddress === undefined) return undefined
  return { ...rest, network: networkName, containerId, family, podAddress, conditions: conditions[family] }
}

/** The first of that family on the pod's interface. */
function podAddressOf({ ips, interfaces }: CniResult, ifName: string, family: 4 | 6): string | undefined {
  return ips.find(({ address, interface: at }) => {
    const on = at === undefined ? undefined : interfaces[at]
    return familyOf(address) === family && (!on || (on.name === ifName && on.sandbox))
  })?.address
}

/** Packets from 127.0.0.1 may leave towards the pod. */
async function allowLoopback(host: Host, pod: string): Promise<void> {
  using netlink = openNetlink({ netns: host.netns })
  const route = await netlink.routes.lookup(pod)
  // By way of a gateway the pod is not of this machine.
  if (route?.index === undefined || route.gateway !== undefined) return
  const name = (await netlink.links.get(route.index))?.name
  if (name !== undefined) setSysctl(host.netns, `net/ipv4/conf/${name}/route_localnet`, '1')
}
