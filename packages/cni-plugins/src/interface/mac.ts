// The MAC that a pod's link is to have.
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { checked } from '../checked.ts'
import type { PluginRequest } from '../types.ts'

const mac = z
  .string()
  .regex(/^(([0-9a-f]{2}:){5}[0-9a-f]{2})?$/i, 'must be a MAC such as 02:00:00:00:00:01')
  .nullish()
const schema = z.object({
  mac,
  runtimeConfig: z.object({ mac }).nullish(),
  args: z.object({ cni: z.object({ mac }).nullish() }).nullish(),
})
const argsSchema = z.object({ MAC: mac })

/**
 * The capability's goes before `args.cni.mac`, then CNI_ARGS' MAC, then the configuration's `mac`. Undefined: the kernel's.
 *
 * @throws CniError naming what is no MAC
 */
export function wantedMac(plugin: string, request: PluginRequest): string | undefined {
  const config = checked(plugin, schema, request.config)
  const { MAC } = checked(`${plugin}: CNI_ARGS`, argsSchema, request.network.args)
  const wanted = config.runtimeConfig?.mac || config.args?.cni?.mac || MAC || config.mac
  return wanted ? wanted.toLowerCase() : undefined
}

/** One that nobody was given, for a link of this machine. */
export function randomMac(): string {
  const bytes = randomBytes(6)
  bytes[0] = ((bytes[0] ?? 0) & 0xfe) | 0x02 // one link's, locally administered
  return bytes.toString('hex').replaceAll(/..(?=.)/g, '$&:')
}
