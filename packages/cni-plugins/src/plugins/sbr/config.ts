// sbr's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import { address, u32 } from '../../fields.ts'
import { checked } from '../../checked.ts'
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
  table: u32.nullish(),
  gateways: z.array(address).nullish(),
  addSourceHints: z.boolean().nullish(),
})

/** @throws CniError naming the field */
export function parseSbr(config: RequestConfig): SbrConfig {
  const { table, gateways: given, addSourceHints } = checked('sbr', schema, config)
  const gateways: SbrConfig['gateways'] = {}
  for (const gateway of given ?? []) {
    const family = familyOf(gateway)
    if (gateways[family] !== undefined)
      throw new CniError(cniCode.badConfig, `sbr: gateways: ${gateway}: there may be one of IPv${family}`)
    gateways[family] = gateway
  }
  return { table: table || undefined, gateways, addSourceHints: addSourceHints ?? false }
}
