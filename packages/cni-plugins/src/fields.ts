// Fields that come in configurations, results and records alike.
import { addressFamily, parsePrefix } from '@nodelet/linux'
import { z } from 'zod'

export const isAddress = (text: string): boolean => addressFamily(text) !== undefined

/** An address and the length of its prefix, both written. */
export function isPrefix(text: string): boolean {
  try {
    parsePrefix(text)
    return text.includes('/')
  } catch {
    return false
  }
}

const last32 = 0xffff_ffff
/** Kernel's numbers are no larger. */
export const u32: z.ZodType<number, number> = z.number().int().min(0).max(last32)
export const address: z.ZodType<string> = z
  .string()
  .refine(isAddress, { error: ({ input }) => `invalid IP address: ${String(input)}` })
export const prefix: z.ZodType<string> = z
  .string()
  .refine(isPrefix, { error: ({ input }) => `invalid CIDR address: ${String(input)}` })
/** Of any kind of link: tunnels have four bytes, InfiniBand has twenty. */
export const hardwareAddress: z.ZodType<string> = z
  .string()
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){3,31}$/i, 'must be a MAC such as 02:00:00:00:00:01')
/** What the kernel takes as a path. */
export const path: z.ZodType<string> = z.string().regex(/^[^\0]*$/, 'must be a path')
const lastScope = 255
const u32Or: z.ZodType<number | undefined> = u32.optional()
/** What a route has beside its destination and gateway. */
export const routeNumbers: Record<'mtu' | 'advmss' | 'priority' | 'table' | 'scope', typeof u32Or> = {
  mtu: u32Or,
  advmss: u32Or,
  priority: u32Or,
  table: u32Or,
  scope: z.number().int().min(0).max(lastScope).optional(),
}
