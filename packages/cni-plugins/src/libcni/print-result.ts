// Our results, printed in any version of the protocol. Pure. @see CNI spec 1.1, "Add Success"
import { CniError, cniCode } from '../errors.ts'
import { familyOf } from '../families.ts'
import type { CniResult } from '../types.ts'
import { isBefore } from './versions.ts'

/** From here on a result has interfaces, and addresses in one list. */
export const withInterfaces = '0.3.0'
/** From here on addresses do not say their family. */
const withoutFamily = '1.0.0'

/** What a route had before 1.0.0. */
export const oldRoute = ({ dst, gw }: { dst: string; gw?: string | undefined }): { dst: string; gw?: string } => ({
  dst,
  ...(gw !== undefined && { gw }),
})

/** A result as a program of that version reads it. @throws CniError when there is no address, which 0.2.0 needs */
export function toVersion(result: CniResult, version: string): object {
  const { interfaces, ips, routes, dns: names } = result
  if (isBefore(version, withInterfaces)) return toOld(result, version)
  if (isBefore(version, withoutFamily)) {
    return {
      cniVersion: version,
      interfaces: interfaces.map(({ name, mac, sandbox }) => ({ name, mac, sandbox })),
      ips: ips.map((ip) => ({ ...ip, version: String(familyOf(ip.address)) })),
      routes: routes.map(oldRoute),
      dns: names,
    }
  }
  return {
    ...result,
    cniVersion: version,
    interfaces: interfaces.length > 0 ? interfaces : undefined,
    ips: ips.length > 0 ? ips : undefined,
    routes: routes.length > 0 ? routes : undefined,
    dns: Object.keys(names).length > 0 ? names : undefined,
  }
}

function toOld({ ips, routes, dns: names }: CniResult, version: string): object {
  const of = (family: 4 | 6): object | undefined => {
    const first = ips.find(({ address }) => familyOf(address) === family)
    if (!first) return undefined
    const own = routes.filter(({ dst }) => familyOf(dst) === family).map(oldRoute)
    return { ip: first.address, gateway: first.gateway, ...(own.length > 0 && { routes: own }) }
  }
  const [ip4, ip6] = [of(4), of(6)]
  if (!ip4 && !ip6) throw new CniError(cniCode.decoding, 'cannot convert: no valid IP addresses')
  return { cniVersion: version, ip4, ip6, dns: names }
}
