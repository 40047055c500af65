// portmap: ports of the host that lead to the pod.
import { openNetlink } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { parseConfig } from '../../interface/config.ts'
import { removeChains } from '../../iptables.ts'
import { hostPortChain } from '../../names.ts'
import { familiesOf, familyOf } from '../../families.ts'
import { setSysctl } from '../../sysctl.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult, Host, PortMapping, RequestConfig } from '../../types.ts'
import { forgetFlows } from './flows.ts'
import { expectedPortmapRules, missingRule, portmapRemoval, portmapRules } from './rules.ts'
import type { PortmapOptions } from './rules.ts'

interface PortmapConfig {
  snat: boolean
  masqAll: boolean
  markMasqBit: number
  mappings: PortMapping[]
}

const port = z.number().int().min(1).max(65_535)
const schema = z.object({
  snat: z.boolean().default(true),
  masqAll: z.boolean().default(false),
  markMasqBit: z.number().int().min(0).max(31).default(13),
  backend: z.literal('iptables').nullish(),
  runtimeConfig: z
    .object({
      portMappings: z
        .array(
          z.object({
            hostPort: port,
            containerPort: port,
            protocol: z
              .string()
              .toLowerCase()
              .pipe(z.enum(['tcp', 'udp', 'sctp'])),
            hostIP: z.string().optional(),
          }),
        )
        .default([]),
    })
    .default({ portMappings: [] }),
})

/** Known keys of the reference plugin that this one does not do: better refused than ignored. */
const refused = ['externalSetMarkChain', 'conditionsV4', 'conditionsV6']

/** @throws CniError naming the field and the value */
function parsePortmap(config: RequestConfig): PortmapConfig {
  for (const key of refused) {
    const value = config[key]
    if (value !== undefined && value !== null && (!Array.isArray(value) || value.length > 0)) {
      throw new CniError(cniCode.unsupportedField, `portmap: ${key}: ${JSON.stringify(value)} is not supported`)
    }
  }
  const { snat, masqAll, markMasqBit, runtimeConfig } = parseConfig('portmap', schema, config)
  const mappings = runtimeConfig.portMappings.map(({ hostIP, ...rest }) => ({
    ...rest,
    ...(hostIP !== undefined && { hostIP }),
  }))
  return { snat, masqAll, markMasqBit, mappings }
}

export const portmap: DefinedPlugin = definePlugin({
  name: 'portmap',
  config: parsePortmap,
  async add(call, host) {
    const { prevResult } = call
    if (!prevResult) throw new CniError(cniCode.badConfig, 'must be called as chained plugin')
    for (const family of families) {
      const options = optionsOf(call, prevResult, family)
      if (!options) continue
      const { mappings, podAddress, snat } = options
      host.changeRules(family, {
        lines: expectedPortmapRules(options),
        from: (saved) => portmapRules(options, saved),
        after: async () => {
          const udp = mappings.filter(({ protocol }) => protocol === 'udp').map(({ hostPort }) => hostPort)
          await forgetFlows(host, family, udp)
        },
      })
      if (snat && family === 4) await allowLoopback(host, podAddress.split('/')[0] ?? '')
    }
    return prevResult
  },
  async check(call, host) {
    for (const family of families) {
      const options = optionsOf(call, call.prevResult, family)
      if (!options) continue
      // A look at the table that changes nothing.
      host.changeRules(family, {
        from: (saved) => {
          const missing = missingRule(options, saved)
          if (missing === undefined) return []
          throw new CniError(cniCode.internal, `portmap: rules are missing in table nat: ${missing}`)
        },
      })
    }
  },
  async del(call, host) {
    const { config, networkName, network, prevResult, isLost } = call
    if (config.mappings.length === 0 && !isLost) return
    removeChains(host, [hostPortChain(networkName, network.containerId)], familiesOf(prevResult?.ips), (family) => {
      const options = prevResult && optionsOf(call, prevResult, family)
      return options && portmapRemoval(options)
    })
  },
})

const families = [4, 6] as const

/** Undefined when there is nothing to map in that family. */
function optionsOf(
  { config, networkName, network: { containerId, ifName } }: PluginCall<PortmapConfig>,
  result: CniResult,
  family: 4 | 6,
): PortmapOptions | undefined {
  const { snat, masqAll, markMasqBit, mappings } = config
  const podAddress = podAddressOf(result, ifName, family)
  if (mappings.length === 0 || podAddress === undefined) return undefined
  return { network: networkName, containerId, mappings, podAddress, snat, masqAll, markBit: markMasqBit }
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
