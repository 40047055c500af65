// static's part of a network's configuration, and what a pod asks for.
import { addressBytes, isWithin } from '@nodelet/linux'
import { z } from 'zod'
import { checked } from '../../checked.ts'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import { isAddress, isPrefix } from '../../fields.ts'
import type { CniResult } from '../../types.ts'
import { args, dns, refuseSeveral, routes, splitList, wanted } from '../ipam-config.ts'

export interface StaticAddress {
  /** With its prefix. */
  address: string
  gateway?: string
}

export interface StaticConfig {
  addresses: StaticAddress[]
  routes: CniResult['routes']
  dns: CniResult['dns']
  /** Take the place of all addresses, and of those of CNI_ARGS, too. */
  instead: StaticAddress[]
}

const schema = z.object({
  ipam: z.object({
    addresses: z.array(z.object({ address: z.string(), gateway: z.string().optional() })).nullish(),
    routes,
    dns,
  }),
  args,
  runtimeConfig: z.object({ ips: wanted }).nullish(),
})

/** @throws CniError naming the field and the value */
export function parseStatic(config: object): StaticConfig {
  const { ipam, args: ofNetwork, runtimeConfig: ofRuntime } = checked('static', schema, config)
  const addresses = (ipam.addresses ?? []).map(({ address, gateway }) => ({
    address: prefixed('address', address),
    ...(gateway !== undefined && { gateway: gatewayOf(gateway) }),
  }))
  const instead = [ofRuntime?.ips, ofNetwork?.cni?.ips].find((ips) => ips && ips.length > 0) ?? []
  return {
    addresses,
    routes: ipam.routes,
    dns: ipam.dns,
    instead: instead.map((address) => ({ address: prefixed('address', address) })),
  }
}

/**
 * The addresses of one pod. `IP` adds some, `GATEWAY` is the gateway of those whose subnets hold it.
 * @param asked CNI_ARGS. @throws CniError naming the value, or that there are more than the version can tell
 */
export function addressesOf(
  { addresses, instead }: StaticConfig,
  asked: Readonly<Record<string, string>>,
  cniVersion: string,
): StaticAddress[] {
  const added = splitList(asked['IP']).map((address): StaticAddress => ({ address: prefixed('ip', address) }))
  const gateways = splitList(asked['GATEWAY']).map(gatewayOf)
  const own = [...addresses, ...added].map((one) => {
    const gateway = gateways.findLast((each) => holds(one.address, each))
    return gateway === undefined ? one : { ...one, gateway }
  })
  const all = instead.length > 0 ? instead : own
  refuseSeveral(
    cniVersion,
    all.map(({ address }) => address),
  )
  return all
}

const holds = (prefix: string, address: string): boolean =>
  familyOf(prefix) === familyOf(address) && isWithin(address, prefix)

/** Whether two texts are one address. */
export const isSame = (one: string, other: string): boolean => addressBytes(one).equals(addressBytes(other))

function prefixed(field: string, text: string): string {
  if (isPrefix(text)) return text
  throw new CniError(cniCode.badConfig, `the '${field}' field is expected to be in CIDR notation, got: '${text}'`)
}

function gatewayOf(text: string): string {
  if (isAddress(text)) return text
  throw new CniError(cniCode.badConfig, `invalid gateway address: ${text}`)
}
