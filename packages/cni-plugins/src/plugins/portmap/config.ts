// portmap's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { address } from '../../fields.ts'
import { checked } from '../../checked.ts'
import type { RuleBackendName } from '../../rule-program.ts'
import type { PortMapping, RequestConfig } from '../../types.ts'

export interface PortmapConfig {
  /** Undefined: iptables, or nftables where iptables cannot be used. */
  backend: RuleBackendName | undefined
  snat: boolean
  /** Masquerades every source, not only the pod and this machine. */
  masqAll: boolean
  /** iptables: what marks packets that are to be masqueraded, a bit from 0 to 31 or a chain of somebody else. */
  mark: { bit: number } | { chain: string }
  /** Words that a packet must match, too, in the language of the backend. */
  conditions: Readonly<Record<4 | 6, readonly string[]>>
  mappings: PortMapping[]
}

const usualMarkBit = 13
const port = z.number().int().min(1).max(65_535)
const conditions = z.array(z.string().regex(/^[^\n\0;]*$/, 'must not have line ends or semicolons')).nullish()
const schema = z.object({
  backend: z.enum(['iptables', 'nftables']).nullish(),
  snat: z.boolean().default(true),
  masqAll: z.boolean().default(false),
  markMasqBit: z.number().int().min(0).max(31).nullish(),
  externalSetMarkChain: z
    .string()
    .regex(/^[^\s"\\-][^\s"\\]{0,27}$/, 'must be a chain of iptables')
    .nullish(),
  conditionsV4: conditions,
  conditionsV6: conditions,
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
            hostIP: address.or(z.literal('')).optional(),
          }),
        )
        .default([]),
    })
    .default({ portMappings: [] }),
})

/** @throws CniError naming the field and the value */
export function parsePortmap(request: RequestConfig): PortmapConfig {
  const parsed = checked('portmap', schema, request)
  const { snat, masqAll, markMasqBit, externalSetMarkChain, runtimeConfig } = parsed
  if (typeof markMasqBit === 'number' && externalSetMarkChain) {
    throw new CniError(cniCode.badConfig, 'portmap: cannot specify externalSetMarkChain and markMasqBit')
  }
  return {
    backend: backendOf(parsed),
    snat,
    masqAll,
    mark: externalSetMarkChain ? { chain: externalSetMarkChain } : { bit: markMasqBit ?? usualMarkBit },
    conditions: { 4: parsed.conditionsV4 ?? [], 6: parsed.conditionsV6 ?? [] },
    mappings: runtimeConfig.portMappings.map(({ hostIP, ...rest }) => ({ ...rest, ...(hostIP && { hostIP }) })),
  }
}

/** What is asked for, or else what alone understands the configuration. */
function backendOf(parsed: z.output<typeof schema>): RuleBackendName | undefined {
  const own: Record<RuleBackendName, string[]> = { iptables: [], nftables: [] }
  for (const key of ['conditionsV4', 'conditionsV6'] as const) {
    const [first] = parsed[key] ?? []
    if (first) own[/^[-!]/.test(first) ? 'iptables' : 'nftables'].push(key)
  }
  for (const key of ['externalSetMarkChain', 'markMasqBit'] as const) {
    if (parsed[key] !== undefined && parsed[key] !== null) own.iptables.push(key)
  }
  const backend = parsed.backend ?? (own.iptables[0] ? 'iptables' : own.nftables[0] ? 'nftables' : undefined)
  const other = backend === 'iptables' ? 'nftables' : 'iptables'
  if (backend && own[other].length > 0) {
    const keys = own[other].join(', ')
    throw new CniError(cniCode.badConfig, `portmap: ${keys}: of ${other}, but the backend is ${backend}`)
  }
  return backend
}
