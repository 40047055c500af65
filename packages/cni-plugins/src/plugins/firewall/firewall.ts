// firewall: lets pods through a FORWARD chain that lets through nothing else.
import { CniError, cniCode } from '../../errors.ts'
import { familiesOf } from '../../families.ts'
import { versionsSince } from '../../libcni/versions.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult } from '../../types.ts'
import { undo } from '../../undo.ts'
import { parseFirewall } from './config.ts'
import type { FirewallConfig } from './config.ts'
import { addSources, checkSources, isFirewalldRunning, removeSources } from './firewalld.ts'
import {
  addressesOf,
  expectedFirewallRules,
  firewallRemoval,
  firewallRules,
  missingRule,
  removalOfOthers,
  removalOfPod,
} from './rules.ts'
import type { FirewallOptions } from './rules.ts'

const families = [4, 6] as const
const table = 'filter'

export const firewall: DefinedPlugin = definePlugin<FirewallConfig>({
  name: 'firewall',
  versions: versionsSince('0.4.0'),
  config: parseFirewall,
  async add(call, host, signal) {
    const { config, prevResult } = call
    if (!prevResult) throw new CniError(cniCode.badConfig, 'firewall: missing prevResult from earlier plugin')
    const backend = await backendOf(config, signal)
    for (const options of optionsOf(call, prevResult, backend)) {
      host.changeRules(options.family, {
        table,
        lines: expectedFirewallRules(options),
        from: (saved) => firewallRules(options, saved),
      })
    }
    const sources = { zone: config.zone, ips: prevResult.ips }
    if (backend === 'firewalld') {
      try {
        await addSources(sources, signal)
      } catch (error) {
        await undo(host, async () => removeSources(sources, signal))
        throw error
      }
    }
    return prevResult
  },

  async del({ config, networkName: network, network: pod, prevResult }, host, signal) {
    if ((await backendOf(config, signal)) === 'firewalld') {
      // It keeps no record of whose an address is.
      return removeSources({ zone: config.zone, ips: prevResult?.ips ?? [] }, signal)
    }
    for (const family of familiesOf(prevResult?.ips) ?? families) {
      const options = { network, pod, addresses: prevResult ? addressesOf(prevResult, family) : [] }
      host.changeRules(family, {
        table,
        ...(prevResult && { lines: firewallRemoval(options) }),
        from: (saved) => removalOfPod(options, saved),
        isGuess: !prevResult,
      })
    }
  },

  async check(call, host, signal) {
    const { config, prevResult } = call
    const backend = await backendOf(config, signal)
    if (backend === 'firewalld') await checkSources({ zone: config.zone, ips: prevResult.ips }, signal)
    for (const options of optionsOf(call, prevResult, backend)) {
      // A look at the table that changes nothing.
      host.changeRules(options.family, {
        table,
        from: (saved) => {
          const missing = missingRule(options, saved)
          if (missing === undefined) return []
          throw new CniError(cniCode.internal, `firewall: a rule is missing in table filter: ${missing}`)
        },
      })
    }
  },

  async gc({ networkName, valid }, host) {
    for (const family of families) {
      host.changeRules(family, { table, from: (saved) => removalOfOthers(networkName, valid, saved), isGuess: true })
    }
  },

  async status({ config }, host, signal) {
    const isRunning = config.backend !== 'iptables' && (await isFirewalldRunning(signal))
    if (config.backend === 'firewalld' && !isRunning)
      throw new CniError(cniCode.notAvailable, 'firewall: firewalld does not run')
    if (isRunning && config.ingressPolicy === 'open') return
    // A look; one family is enough.
    for (const family of families) host.changeRules(family, { table, from: () => [], isGuess: true })
    await host.settleRules(signal)
  },
})

type Backend = NonNullable<FirewallConfig['backend']>

const backendOf = async ({ backend }: FirewallConfig, signal: AbortSignal): Promise<Backend> =>
  backend ?? ((await isFirewalldRunning(signal)) ? 'firewalld' : 'iptables')

/** Of each family that has something to do for iptables: with firewalld it only keeps bridges apart. */
function optionsOf(
  { networkName: network, network: pod, config }: PluginCall<FirewallConfig>,
  result: CniResult,
  backend: Backend,
): (FirewallOptions & { family: 4 | 6 })[] {
  const { adminChain, ingressPolicy: policy } = config
  const isolation = policy === 'open' ? undefined : { bridge: bridgeOf(result, policy), policy }
  if (backend === 'firewalld' && !isolation) return []
  return (familiesOf(result.ips) ?? []).map((family) => {
    const own = backend === 'iptables' ? { addresses: addressesOf(result, family), adminChain } : { addresses: [] }
    return { family, network, pod, isolation, ...own }
  })
}

function bridgeOf({ interfaces: [first] }: CniResult, policy: string): string {
  const wrong = (message: string): CniError => new CniError(cniCode.badConfig, `firewall: ${message}`)
  if (!first) {
    const hint = 'make sure to chain "firewall" plugin with "bridge"'
    throw wrong(`interface needs to be set for ingress policy "${policy}", ${hint}`)
  }
  if (!/^[^\s"'\\]{1,15}$/.test(first.name)) throw wrong(`not the name of a bridge: ${JSON.stringify(first.name)}`)
  return first.name
}
