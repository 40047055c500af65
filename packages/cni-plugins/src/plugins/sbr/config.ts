// sbr's part of a network's configuration.
import { isIP } from 'node:net'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import { parseConfig } from '../../interface/config.ts'
import type { RequestConfig } from '../../types.ts'

export interface SbrConfig {
  /** One that is there already: only the rules are made. */
  table?: number | undefined
  /** In place of those of the addresses. */
  gateways: Partial<Record<4 | 6, string>>
  /** Whether the main table keeps the routes to the interface's own networks, each with the address to send from. */
  addSourceHints: boolean
}

const schema = z.object({
  table: z.number().int().min(0).max(0xffff_ffff).nullish(),
  gateways: z.array(z.string().refine((text) => isIP(text) !== 0, 'must be an IP address')).nullish(),
  addSourceHints: z.boolean().nullish(),
})

/** @throws CniError naming the field */
export function parseSbr(config: RequestConfig): SbrConfig {
  const { table, gateways: given, addSourceHints } = parseConfig('sbr', schema, config)
  const gateways: SbrConfig['gateways'] = {}
  for (const gateway of given ?? []) {
    const family = familyOf(gateway)
    if (gateways[family] !== undefined)
      throw new CniError(cniCode.badConfig, `sbr: gateways: ${gateway}: there may be one of IPv${family}`)
    gateways[family] = gateway
  }
  return { table: table || undefined, gateways, addSourceHints: addSourceHints ?? false }
}
