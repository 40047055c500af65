// Results of any version of the protocol, read as ours. Pure. @see CNI spec 1.1, "Add Success"
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'
import type { CniResult } from '../types.ts'
import { oldRoute, withInterfaces } from './print-result.ts'
import { isBefore, isVersion } from './versions.ts'

const list = <T>(item: z.ZodType<T>): z.ZodType<T[]> =>
  z
    .array(item)
    .nullish()
    .transform((value) => value ?? [])
const text = z.string().optional()
const number = z.number().int().optional()
const dns = z
  .object({
    nameservers: z.array(z.string()).optional(),
    domain: text,
    search: z.array(z.string()).optional(),
    options: z.array(z.string()).optional(),
  })
  .nullish()
  .transform((value) => value ?? {})
const route = z.looseObject({
  dst: z.string(),
  gw: text,
  mtu: number,
  advmss: number,
  priority: number,
  table: number,
  scope: number,
})
const cniVersion = z.string().refine(isVersion, 'must be a version such as 1.0.0')

/** From 0.3.0 on: fields of newer versions pass through. */
const schema = z.looseObject({
  cniVersion,
  interfaces: list(
    z.looseObject({ name: z.string(), mac: text, mtu: number, sandbox: text, socketPath: text, pciID: text }),
  ),
  ips: list(z.looseObject({ address: z.string(), gateway: text, interface: number })),
  routes: list(route),
  dns,
})

const oldIp = z.object({ ip: z.string(), gateway: text, routes: list(route) }).nullish()
/** 0.1.0 and 0.2.0. */
const oldSchema = z.object({ cniVersion, ip4: oldIp, ip6: oldIp, dns })

type OldIp = z.infer<typeof oldIp>

/**
 * A result in whatever version it is, as ours.
 *
 * @param whose for messages. @param version of a result that does not say its own. @throws CniError naming the field
 */
export function parseResult(whose: string, value: unknown, version: string): CniResult {
  const object: unknown =
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? { ...value, cniVersion: ('cniVersion' in value && value.cniVersion) || version }
      : (value ?? { cniVersion: version })
  const isOld = isBefore(versionOf(object) ?? version, withInterfaces)
  const parsed = isOld ? oldSchema.safeParse(object) : schema.safeParse(object)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const at = issue?.path.join('.')
    throw new CniError(cniCode.decoding, `result of ${whose}: ${at ? `${at}: ` : ''}${issue?.message}`)
  }
  const { data } = parsed
  if (!('ips' in data)) return fromOld(data)
  const ips = data.ips.map(({ version: _, ...ip }) => ip)
  return { ...data, ips } as CniResult
}

const versionOf = (value: unknown): string | undefined =>
  typeof value === 'object' && value !== null && 'cniVersion' in value && typeof value.cniVersion === 'string'
    ? value.cniVersion
    : undefined

function fromOld({ cniVersion: version, ip4, ip6, dns: names }: z.infer<typeof oldSchema>): CniResult {
  const both = [ip4, ip6].filter((one): one is NonNullable<OldIp> => Boolean(one))
  return {
    cniVersion: version,
    interfaces: [],
    ips: both.map(({ ip, gateway }) => ({ address: ip, ...(gateway !== undefined && { gateway }) })),
    routes: both.flatMap(({ routes }) => routes.map(oldRoute)),
    dns: names as CniResult['dns'],
  }
}
