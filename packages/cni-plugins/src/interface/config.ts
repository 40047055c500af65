// Parts of the configuration that plugins have in common.
import { z } from 'zod'
import { u32 } from '../fields.ts'
import { isLinkName, pluginName } from '../libcni/names.ts'
import type { RuleBackendName } from '../rule-program.ts'
import type { CniResult } from '../types.ts'

/** Pieces of schemas. @see CNI spec 1.1, "Plugin configuration objects" */
export const common: {
  ipam: z.ZodType<{ type: string }>
  linkName: z.ZodType<string>
  mtu: z.ZodType<number, number | undefined>
  dns: z.ZodType<CniResult['dns'] | undefined>
  ipMasqBackend: z.ZodType<RuleBackendName | null | undefined>
} = {
  /** Who gives addresses; further keys are that plugin's. */
  ipam: z.looseObject({ type: z.string().regex(pluginName, 'must name a plugin') }),
  linkName: z.string().refine(isLinkName, 'must be a link name: 1 to 15 bytes'),
  /** 0: the kernel's, or the one of the link below. */
  mtu: u32.default(0),
  /** Absent: iptables, or nftables where iptables cannot be used. */
  ipMasqBackend: z.enum(['iptables', 'nftables']).nullish(),
  dns: z
    .object({
      nameservers: z.array(z.string()).nullish(),
      domain: z.string().nullish(),
      search: z.array(z.string()).nullish(),
      options: z.array(z.string()).nullish(),
    })
    .transform((dns) => {
      const given = Object.entries(dns).filter(([, value]) => value !== undefined && value !== null)
      return given.length === 0 ? undefined : (Object.fromEntries(given) as CniResult['dns'])
    })
    .optional(),
}
