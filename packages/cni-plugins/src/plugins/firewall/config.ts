// firewall's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { checked } from '../../checked.ts'
import type { RequestConfig } from '../../types.ts'
import { usualAdminChain } from './rules.ts'

export interface FirewallConfig {
  /** Undefined: firewalld where it runs, else iptables. */
  backend?: 'iptables' | 'firewalld' | undefined
  /** Whose rules go before those of pods. */
  adminChain: string
  /** The zone that pods' addresses are sources of. */
  zone: string
  ingressPolicy: IngressPolicy
}

/**
 * Who may begin to talk to a pod, of what this machine forwards. `open`: whom the FORWARD chain lets through. `same-bridge`: pods
 * of the same bridge, but of no other that has such a policy. `isolated`: nor those of the same bridge, where frames between its
 * ports pass iptables.
 */
export type IngressPolicy = 'open' | 'same-bridge' | 'isolated'

const policies: readonly string[] = ['open', 'same-bridge', 'isolated'] satisfies IngressPolicy[]
const schema = z.object({
  backend: z.enum(['iptables', 'firewalld', '']).nullish(),
  iptablesAdminChainName: z
    .string()
    .regex(/^([^-!\s"'\\][^\s"'\\]{0,27})?$/, 'must be the name of a chain: 1 to 28 characters')
    .nullish(),
  firewalldZone: z.string().nullish(),
  ingressPolicy: z.string().nullish(),
})

/** @throws CniError naming the field and the value */
export function parseFirewall(config: RequestConfig): FirewallConfig {
  const { backend, iptablesAdminChainName, firewalldZone, ingressPolicy } = checked('firewall', schema, config)
  const policy = ingressPolicy || 'open'
  if (!policies.includes(policy)) {
    throw new CniError(cniCode.badConfig, `firewall: unknown ingress policy: ${JSON.stringify(policy)}`)
  }
  return {
    backend: backend || undefined,
    adminChain: iptablesAdminChainName || usualAdminChain,
    zone: firewalldZone || 'trusted',
    ingressPolicy: policy as IngressPolicy,
  }
}
