import { addressBytes, addressText } from '@nodelet/linux'

/** One address alone, as iptables prints it: `10.0.0.2/32` of `10.0.0.2/24`. */
export function hostPrefix(address: string): string {
  const bytes = addressBytes(address.split('/')[0] ?? '')
  return `${addressText(bytes)}/${bytes.length * 8}`
}
