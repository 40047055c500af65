// Parts of the configuration that plugins have in common.
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'
import type { RuleBackendName } from '../rule-program.ts'
import type { CniResult, PluginConfig } from '../types.ts'

/** Pieces of schemas. @see CNI spec 1.1, "Plugin configuration objects" */
export const common: {
  ipam: z.ZodType<{ type: string }>
  linkName: z.ZodType<string>
  mtu: z.ZodType<number, number | undefined>
  dns: z.ZodType<CniResult['dns'] | undefined>
  ipMasqBackend: z.ZodType<RuleBackendName | null | undefined>
} = {
  /** Who gives addresses; further keys are that plugin's. */
  ipam: z.looseObject({ type: z.string().min(1, 'must name a plugin') }),
  linkName: z.string().regex(/^(?!\.{1,2}$)[^/:\s]{1,15}$/, 'must be a link name: 1 to 15 bytes'),
  /** 0: the kernel's, or the one of the link below. */
  mtu: z.number().int().nonnegative().default(0),
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

/** @throws CniError naming the plugin and the field */
export function parseConfig<Schema extends z.ZodType>(
  plugin: string,
  schema: Schema,
  config: PluginConfig,
): z.output<Schema> {
  const parsed = schema.safeParse(config)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = issue?.path.join('.')
  throw new CniError(cniCode.badConfig, `${plugin}: ${path ? `${path}: ` : ''}${issue?.message}`)
}
