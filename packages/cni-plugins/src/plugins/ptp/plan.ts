// The two points of each of a pod's addresses, and the routes between them. Pure.
import { addressText, parsePrefix } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import type { CniResult } from '../../types.ts'

export interface Point {
  /** The pod's address alone. */
  source: string
  gateway: string
  /** Prefixes of the whole address: pod and gateway. */
  pod: string
  machine: string
  /** What the kernel takes for the link's neighbours; absent where the pod's address is all of it. */
  subnet?: string
}

/** @throws CniError for an address without a gateway: there is nothing else to send to */
export function planPoints(ips: CniResult['ips']): Point[] {
  return ips.map(({ address, gateway }) => {
    if (gateway === undefined) throw new CniError(cniCode.internal, `ptp: ${address} comes without a gateway`)
    const { bytes, length } = parsePrefix(address)
    const bits = bytes.length * 8
    const source = address.split('/')[0] ?? address
    const points = { source, gateway, pod: `${source}/${bits}`, machine: `${gateway}/${bits}` }
    return length === bits ? points : { ...points, subnet: `${networkOf(bytes, length)}/${length}` }
  })
}

function networkOf(bytes: Buffer, length: number): string {
  const bits = BigInt(bytes.length * 8)
  const rest = (1n << (bits - BigInt(length))) - 1n
  const network = BigInt(`0x${bytes.toString('hex')}`) & ~rest
  return addressText(Buffer.from(network.toString(16).padStart(bytes.length * 2, '0'), 'hex'))
}
