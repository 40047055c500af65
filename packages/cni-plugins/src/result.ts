// Results in the versions of the protocol. @see CNI spec 1.1, "Add Success"
import { z } from 'zod'
import { CniError, cniCode } from './errors.ts'
import type { CniResult } from './types.ts'

/** What a program may answer: fields of newer versions pass through. */
const schema = z.looseObject({
  cniVersion: z.string().default(''),
  interfaces: z
    .array(
      z.looseObject({
        name: z.string(),
        mac: z.string().optional(),
        mtu: z.number().optional(),
        sandbox: z.string().optional(),
      }),
    )
    .nullish()
    .transform((value) => value ?? []),
  ips: z
    .array(
      z.looseObject({ address: z.string(), gateway: z.string().optional(), interface: z.number().int().optional() }),
    )
    .nullish()
    .transform((value) => value ?? []),
  routes: z
    .array(z.looseObject({ dst: z.string(), gw: z.string().optional() }))
    .nullish()
    .transform((value) => value ?? []),
  dns: z
    .object({
      nameservers: z.array(z.string()).optional(),
      domain: z.string().optional(),
      search: z.array(z.string()).optional(),
      options: z.array(z.string()).optional(),
    })
    .nullish()
    .transform((value) => value ?? {}),
})

/** @param type the plugin that answered. @throws CniError naming the field */
export function parseResult(type: string, value: unknown, cniVersion: string): CniResult {
  const parsed = schema.safeParse(value ?? {})
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.decoding, `result of plugin "${type}": ${issue?.path.join('.')}: ${issue?.message}`)
  }
  return { ...(parsed.data as CniResult), cniVersion: parsed.data.cniVersion || cniVersion }
}

/** Whether a version such as `0.4.0` comes before another. */
export function isBefore(version: string, other: string): boolean {
  const [one, two] = [version, other].map((text) => text.split('.').map(Number))
  for (const at of [0, 1, 2]) {
    const difference = (one?.[at] ?? 0) - (two?.[at] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

/** A result as a program of that version reads it. */
export function toVersion(result: CniResult, cniVersion: string): object {
  const { interfaces, ips, routes, dns } = result
  if (isBefore(cniVersion, '1.0.0')) {
    return {
      cniVersion,
      interfaces: interfaces.map(({ name, mac, sandbox }) => ({ name, mac, sandbox })),
      ips: ips.map((ip) => ({ ...ip, version: ip.address.includes(':') ? '6' : '4' })),
      routes: routes.map(({ dst, gw }) => ({ dst, gw })),
      dns,
    }
  }
  return {
    cniVersion,
    ...(interfaces.length > 0 && { interfaces }),
    ...(ips.length > 0 && {
      ips: ips.map((ip) => Object.fromEntries(Object.entries(ip).filter(([key]) => key !== 'version'))),
    }),
    ...(routes.length > 0 && { routes }),
    ...(Object.keys(dns).length > 0 && { dns }),
  }
}
