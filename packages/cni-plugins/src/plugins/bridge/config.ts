// bridge's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { common, parseConfig } from '../../interface/config.ts'
import type { CniResult, PluginConfig } from '../../types.ts'

export interface BridgeConfig {
  bridge: string
  isGateway: boolean
  isDefaultGateway: boolean
  ipMasq: boolean
  /** 0: the kernel's. */
  mtu: number
  hairpinMode: boolean
  ipam?: { type: string } | undefined
  dns?: CniResult['dns'] | undefined
}

const schema = z.object({
  bridge: common.linkName.default('cni0'),
  isGateway: z.boolean().default(false),
  isDefaultGateway: z.boolean().default(false),
  ipMasq: z.boolean().default(false),
  mtu: common.mtu,
  hairpinMode: z.boolean().default(false),
  ipMasqBackend: z.literal('iptables').nullish(),
  ipam: common.ipam.optional(),
  dns: common.dns,
})

/** Known keys of the reference plugin that this one does not do: better refused than ignored. */
const refused = [
  'enabledad',
  'forceAddress',
  'promiscMode',
  'vlan',
  'vlanTrunk',
  'macspoofchk',
  'disableContainerInterface',
  'portIsolation',
  'preserveDefaultVlan',
]

/** @throws CniError naming the field and the value */
export function parseBridge(config: PluginConfig): BridgeConfig {
  for (const key of refused) {
    const value = config[key]
    if (value !== undefined && value !== false && value !== 0) {
      throw new CniError(cniCode.unsupportedField, `bridge: ${key}: ${JSON.stringify(value)} is not supported`)
    }
  }
  const { isGateway, isDefaultGateway, ipMasqBackend: _, ...rest } = parseConfig('bridge', schema, config)
  return { ...rest, isGateway: isGateway || isDefaultGateway, isDefaultGateway }
}
