// bridge's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import type { CniResult, RequestConfig } from '../../types.ts'
import type { Vlan } from './vlans.ts'

export interface BridgeConfig {
  bridge: string
  isGateway: boolean
  isDefaultGateway: boolean
  /** Takes the place of another address of the bridge that is in the way. */
  forceAddress: boolean
  ipMasq: boolean
  ipMasqBackend?: 'iptables' | 'nftables' | null | undefined
  /** 0: the kernel's. */
  mtu: number
  hairpinMode: boolean
  promiscMode: boolean
  /** Of the pod, untagged; 0: none. */
  vlan: number
  /** Those that the pod has tagged. */
  vlanTrunk: readonly Vlan[]
  /** Whether the port stays in the VLAN that the bridge gives it. */
  preserveDefaultVlan: boolean
  /** The pod may only send from its own MAC. */
  macspoofchk: boolean
  /** Whether the pod's addresses of IPv6 are looked for on the network before they are used. */
  enabledad: boolean
  /** The pod's end stays down. */
  disableContainerInterface: boolean
  /** The pod reaches only ports that are not isolated. */
  portIsolation: boolean
  ipam?: { type: string } | undefined
  dns?: CniResult['dns'] | undefined
}

const lastVlan = 4094
const longestName = 15
const flag = z.boolean().default(false)
const vlanId = z.number().int().min(1).max(lastVlan)
const trunk = z
  .object({ id: vlanId.nullish(), minID: vlanId.nullish(), maxID: vlanId.nullish() })
  .transform(({ id, minID, maxID }, context): Vlan[] => {
    if (Boolean(minID) !== Boolean(maxID)) context.addIssue('minID and maxID come together')
    if (minID && maxID && maxID < minID) context.addIssue(`minID ${minID} is greater than maxID ${maxID}`)
    return [...(id ? [{ id, last: id }] : []), ...(minID && maxID ? [{ id: minID, last: maxID }] : [])]
  })
const schema = z.object({
  bridge: common.linkName.default('cni0'),
  isGateway: flag,
  isDefaultGateway: flag,
  forceAddress: flag,
  ipMasq: flag,
  ipMasqBackend: common.ipMasqBackend,
  mtu: common.mtu,
  hairpinMode: flag,
  promiscMode: flag,
  vlan: z.number().int().min(0).max(lastVlan).default(0),
  vlanTrunk: z.array(trunk).nullish(),
  preserveDefaultVlan: flag,
  macspoofchk: flag,
  enabledad: flag,
  disableContainerInterface: flag,
  portIsolation: flag,
  ipam: common.ipam.optional(),
  dns: common.dns,
})

/** @throws CniError naming the field and the value */
export function parseBridge(request: RequestConfig): BridgeConfig {
  const parsed = checked('bridge', schema, request)
  const isGateway = parsed.isGateway || parsed.isDefaultGateway
  const config = { ...parsed, isGateway, vlanTrunk: (parsed.vlanTrunk ?? []).flat() }
  const wrong = (message: string): CniError => new CniError(cniCode.badConfig, `bridge: ${message}`)
  if (config.hairpinMode && config.promiscMode) {
    throw wrong('cannot set hairpinMode and promiscMode at the same time')
  }
  if (config.disableContainerInterface && config.ipam) {
    throw wrong('cannot use ipam when disableContainerInterface is set')
  }
  if (config.vlan > 0 && isGateway && config.ipam && vlanGateway(config).length > longestName) {
    throw wrong(`vlan: the gateway's link ${vlanGateway(config)} would have a name of more than ${longestName} bytes`)
  }
  return config
}

/** The link that has a VLAN's gateway addresses. */
export const vlanGateway = ({ bridge, vlan }: Pick<BridgeConfig, 'bridge' | 'vlan'>): string => `${bridge}.${vlan}`
