// The MAC that a pod's link is to have.
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'
import type { PluginRequest } from '../types.ts'

const mac = z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i, 'must be a MAC such as 02:00:00:00:00:01')
const schema = z.object({
  config: z.object({
    mac: mac.or(z.literal('')).nullish(),
    runtimeConfig: z.object({ mac: mac.or(z.literal('')).nullish() }).nullish(),
    args: z.object({ cni: z.object({ mac: mac.or(z.literal('')).nullish() }).nullish() }).nullish(),
  }),
  network: z.object({ args: z.object({ MAC: mac.optional() }) }),
})

/**
 * The capability's goes before `args.cni.mac`, then CNI_ARGS' MAC, then the configuration's `mac`. Undefined: the kernel's.
 *
 * @throws CniError naming what is no MAC
 */
export function wantedMac(plugin: string, request: PluginRequest): string | undefined {
  const parsed = schema.safeParse(request)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.badConfig, `${plugin}: ${issue?.path.slice(1).join('.')}: ${issue?.message}`)
  }
  const { config, network } = parsed.data
  const wanted = config.runtimeConfig?.mac || config.args?.cni?.mac || network.args.MAC || config.mac
  return wanted ? wanted.toLowerCase() : undefined
}

/** One that nobody was given, for a link of this machine. */
export function randomMac(): string {
  const bytes = randomBytes(6)
  bytes[0] = ((bytes[0] ?? 0) & 0xfe) | 0x02 // one link's, locally administered
  return bytes.toString('hex').replaceAll(/..(?=.)/g, '$&:')
}
