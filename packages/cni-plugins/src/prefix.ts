// The network that an address with a prefix is in. Pure.
import { addressText, parsePrefix } from '@nodelet/linux'

/** `10.1.2.0/24` of `10.1.2.3/24`. @throws RangeError */
export function networkOf(prefix: string): string {
  const { network, length } = parsed(prefix)
  return `${text(network, length.all)}/${length.prefix}`
}

/** `10.1.2.1` of `10.1.2.3/24`. @throws RangeError */
export function firstAddress(prefix: string): string {
  const { network, length } = parsed(prefix)
  return text(network | 1n, length.all)
}

function parsed(prefix: string): { network: bigint; length: { prefix: number; all: number } } {
  const { bytes, length } = parsePrefix(prefix)
  const all = bytes.length * 8
  const host = (1n << BigInt(all - length)) - 1n
  return { network: BigInt(`0x${bytes.toString('hex')}`) & ~host, length: { prefix: length, all } }
}

const text = (address: bigint, bits: number): string =>
  addressText(Buffer.from(address.toString(16).padStart(bits / 4, '0'), 'hex'))
