// Address families.

export const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4)

/** The families among addresses; undefined when the addresses are not known. */
export function familiesOf(ips: readonly { address: string }[] | undefined): (4 | 6)[] | undefined {
  return ips && ([4, 6] as const).filter((family) => ips.some(({ address }) => familyOf(address) === family))
}
