// Results of any version of the protocol, read as ours. Pure. @see CNI spec 1.1, "Add Success"
import { z } from 'zod'
import { checked } from '../checked.ts'
import { cniCode } from '../errors.ts'
import { address, hardwareAddress, prefix, routeNumbers, u32 } from '../fields.ts'
import type { CniResult } from '../types.ts'
import { oldRoute, withInterfaces } from './print-result.ts'
import { isBefore, isVersion } from './versions.ts'

const list = <T>(item: z.ZodType<T>): z.ZodType<T[]> =>
  z
    .array(item)
    .nullish()
    .transform((value) => value ?? [])
const text = z.string().optional()
/** As absent, as Go reads it. */
const orEmpty = (item: z.ZodType<string>): z.ZodType<string | undefined> =>
  z
    .union([z.literal(''), item])
    .optional()
    .transform((value) => value || undefined)
const gateway = orEmpty(address)
const dns = z
  .object({
    nameservers: z.array(z.string()).optional(),
    domain: text,
    search: z.array(z.string()).optional(),
    options: z.array(z.string()).optional(),
  })
  .nullish()
  .transform((value) => value ?? {})
const route = z.looseObject({ dst: prefix, gw: gateway, ...routeNumbers })
const cniVersion = z.string().refine(isVersion, 'must be a version such as 1.0.0')

const link = z.looseObject({
  name: z.string(),
  mac: orEmpty(hardwareAddress),
  mtu: u32.optional(),
  sandbox: text,
  socketPath: text,
  pciID: text,
})
const ip = z.looseObject({ address: prefix, gateway, interface: u32.optional() })

/** From 0.3.0 on: fields of newer versions pass through. */
const schema = z
  .looseObject({ cniVersion, interfaces: list(link), ips: list(ip), routes: list(route), dns })
  .superRefine(({ interfaces, ips }, context) => {
    // Plugins that only give addresses list no interfaces, whatever they know of them.
    if (interfaces.length === 0) return
    for (const [at, { interface: index }] of ips.entries()) {
      if (index === undefined || index < interfaces.length) continue
      context.addIssue({ code: 'custom', path: ['ips', at, 'interface'], message: 'must be an index of interfaces' })
    }
  })

const oldIp = z.object({ ip: prefix, gateway, routes: list(route) }).nullish()
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
  const data = checked(`result of ${whose}`, isOld ? oldSchema : schema, object, cniCode.decoding)
  if (!('ips' in data)) return fromOld(data)
  const ips = data.ips.map(({ version: _, ...rest }) => rest)
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
    ips: both.map(({ ip: own, gateway: gw }) => ({ address: own, ...(gw !== undefined && { gateway: gw }) })),
    routes: both.flatMap(({ routes }) => routes.map(oldRoute)),
    dns: names as CniResult['dns'],
  }
}
