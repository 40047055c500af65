// Which of the kernel's two interfaces for iptables the rules go to. Pure.

/** `nft`: nf_tables, as `iptables-nft` writes it; `legacy`: the older tables of `iptables-legacy`. */
export type IptablesVariant = 'nft' | 'legacy'

export const iptablesVariants: readonly IptablesVariant[] = ['nft', 'legacy']

/** What a machine has of one variant. */
export interface VariantFacts {
  variant: IptablesVariant
  /** What the machine's own `iptables` is. */
  isUsual: boolean
  /** A kubelet's chains are in it: where it puts them is where a proxy belongs. */
  hasKubelet: boolean
  /** Rules that are neither a proxy's nor a kubelet's. */
  others: number
}

/**
 * The variants of a machine, that to be used first: where a kubelet has its chains, then where more rules of others are, then
 * the usual one. Speed has no say: see the README for what was measured.
 */
export function variantsInOrder<Facts extends VariantFacts>(found: readonly Facts[]): Facts[] {
  const first = (a: boolean, b: boolean): number => Number(b) - Number(a)
  return found.toSorted(
    (a, b) => first(a.hasKubelet, b.hasKubelet) || b.others - a.others || first(a.isUsual, b.isUsual),
  )
}

/**
 * Chains of service ports in one load. `iptables-nft-restore` looks for each chain among all of its input, one by one: its time
 * grows with the square of their number. With `legacy` each load replaces the whole table, so that it is always one.
 */
export const chainsAtOnce: Readonly<Record<IptablesVariant, number>> = { nft: 500, legacy: Infinity }
