// What the configurations of IPAM plugins have in common.
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'
import { familyOf } from '../families.ts'
import { address, prefix, routeNumbers } from '../fields.ts'
import { isBefore } from '../libcni/versions.ts'
import { withInterfaces } from '../libcni/print-result.ts'
import type { CniResult } from '../types.ts'

/** Routes as they are copied to the result. */
export const routes: z.ZodType<CniResult['routes']> = z
  .array(z.object({ dst: prefix, gw: address.optional(), ...routeNumbers }))
  .nullish()
  .transform((value) => (value ?? []) as CniResult['routes'])

const words = z.array(z.string()).optional()
/** DNS as it is copied to the result. */
export const dns: z.ZodType<CniResult['dns']> = z
  .object({ nameservers: words, domain: z.string().optional(), search: words, options: words })
  .nullish()
  .transform((value) => (value ?? {}) as CniResult['dns'])

/** Addresses that are asked for. */
export const wanted: z.ZodType<string[] | null | undefined> = z.array(z.string()).nullish()
/** Those that the network asks for. */
export const args: z.ZodType<{ cni?: { ips?: string[] | null | undefined } | null | undefined } | null | undefined> = z
  .object({ cni: z.object({ ips: wanted }).nullish() })
  .nullish()

/** Words between commas. */
export const splitList = (text = ''): string[] =>
  text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')

/** Old results hold one address of each family. @throws CniError */
export function refuseSeveral(cniVersion: string, addresses: readonly string[]): void {
  const isSeveral = ([4, 6] as const).some((family) => addresses.filter((one) => familyOf(one) === family).length > 1)
  if (isSeveral && isBefore(cniVersion, withInterfaces)) {
    throw new CniError(cniCode.badConfig, `CNI version ${cniVersion} does not support more than 1 address per family`)
  }
}
