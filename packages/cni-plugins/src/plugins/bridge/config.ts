// bridge's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
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
  bridge: z
    .string()
    .regex(/^[^/:\s]{1,15}$/, 'must be a link name: 1 to 15 bytes')
    .default('cni0'),
  isGateway: z.boolean().default(false),
  isDefaultGateway: z.boolean().default(false),
  ipMasq: z.boolean().default(false),
  mtu: z.number().int().nonnegative().default(0),
  hairpinMode: z.boolean().default(false),
  ipMasqBackend: z.literal('iptables').nullish(),
  ipam: z.looseObject({ type: z.string() }).optional(),
  dns: z
    .object({
      nameservers: z.array(z.string()).optional(),
      domain: z.string().optional(),
      search: z.array(z.string()).optional(),
      options: z.array(z.string()).optional(),
    })
    .optional(),
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
  const parsed = schema.safeParse(config)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.badConfig, `bridge: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { isGateway, isDefaultGateway, dns, ipMasqBackend: _, ...rest } = parsed.data
  const words =
    dns && (Object.fromEntries(Object.entries(dns).filter(([, value]) => value !== undefined)) as CniResult['dns'])
  return { ...rest, isGateway: isGateway || isDefaultGateway, isDefaultGateway, dns: words }
}
