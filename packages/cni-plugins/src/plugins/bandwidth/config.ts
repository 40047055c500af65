// bandwidth's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { checked } from '../../checked.ts'
import type { RequestConfig } from '../../types.ts'

export interface Limit {
  /** Bits per second. */
  rate: number
  /** Bits that may go at once. */
  burst: number
}

export interface BandwidthConfig {
  /** To the pod. */
  ingress?: Limit
  /** From the pod. */
  egress?: Limit
}

const number = z.number().int().nonnegative().nullish()
const limits = z.object({ ingressRate: number, ingressBurst: number, egressRate: number, egressBurst: number })
const schema = limits.extend({ runtimeConfig: z.object({ bandwidth: limits.nullish() }).nullish() })

/** Known keys of the reference plugin that this one does not do: better refused than ignored. */
const refused = ['shapedSubnets', 'unshapedSubnets']

/** The object's own limits go before the runtime's. @throws CniError naming the field */
export function parseBandwidth(config: RequestConfig): BandwidthConfig {
  const { runtimeConfig, ...own } = checked('bandwidth', schema, config)
  const given = config.runtimeConfig as { bandwidth?: Record<string, unknown> } | undefined
  for (const key of refused) {
    const value = config[key] ?? given?.bandwidth?.[key]
    if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) continue
    throw new CniError(cniCode.unsupportedField, `bandwidth: ${key}: ${JSON.stringify(value)} is not supported`)
  }
  const hasOwn = Object.values(own).some((value) => value !== undefined && value !== null)
  const wanted = hasOwn ? own : (runtimeConfig?.bandwidth ?? {})
  const ingress = limitOf('ingress', wanted.ingressRate, wanted.ingressBurst)
  const egress = limitOf('egress', wanted.egressRate, wanted.egressBurst)
  return { ...(ingress && { ingress }), ...(egress && { egress }) }
}

/** Undefined: no limit. */
function limitOf(which: string, rate: number | null = 0, burst: number | null = 0): Limit | undefined {
  const wrong = (message: string): CniError => new CniError(cniCode.badConfig, `bandwidth: ${message}`)
  if (!rate && !burst) return undefined
  if (!burst) throw wrong(`${which}Burst: if rate is set, burst must also be set`)
  if (!rate) throw wrong(`${which}Rate: if burst is set, rate must also be set`)
  if (rate < 8) throw wrong(`${which}Rate: ${rate} is less than 8 bit/s`)
  if (burst / 8 >= 2 ** 32) throw wrong(`${which}Burst: ${burst}: burst cannot be more than 4GB`)
  return { rate, burst }
}
