// VLANs of a port.
import { LinuxError } from '@nodelet/linux'
import type { BridgeVlan, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import type { BridgeConfig } from './config.ts'

/** Those from `id` to `last`. */
export interface Vlan {
  id: number
  last: number
}

/** What is untagged on a trunk without a VLAN of its own. */
const usualNative = 1
type VlanConfig = Pick<BridgeConfig, 'vlan' | 'vlanTrunk' | 'preserveDefaultVlan'>

export const hasVlans = ({ vlan, vlanTrunk }: VlanConfig): boolean => vlan > 0 || vlanTrunk.length > 0

/** What a port is to be in, each VLAN once; the untagged one first. Pure. */
export function vlansOf({ vlan, vlanTrunk }: Pick<VlanConfig, 'vlan' | 'vlanTrunk'>): BridgeVlan[] {
  const native = vlan || usualNative
  const tagged: Vlan[] = []
  for (const { id, last } of vlanTrunk.toSorted((one, other) => one.id - other.id)) {
    const before = tagged.at(-1)
    if (before && id <= before.last + 1) before.last = Math.max(before.last, last)
    else tagged.push({ id, last }) // a copy: it may grow
  }
  const parts = tagged.flatMap(({ id, last }) =>
    native < id || native > last
      ? [{ id, last }]
      : [
          { id, last: native - 1 },
          { id: native + 1, last },
        ].filter((part) => part.id <= part.last),
  )
  return [{ id: native, pvid: true, untagged: true }, ...parts]
}

/** Puts a port into its VLANs, and out of the others unless they are to be kept. May run again. */
export async function setVlans(outside: Netlink, port: number, config: VlanConfig): Promise<void> {
  if (!hasVlans(config)) return
  await withVlans(async () => {
    if (!config.preserveDefaultVlan) {
      const present = (await outside.bridge.vlans()).find(({ index }) => index === port)?.vlans ?? []
      if (present.length > 0)
        await outside.bridge.deleteVlans(
          port,
          present.map(({ id, last = id }) => ({ id, last })),
        )
    }
    await outside.bridge.addVlans(port, vlansOf(config))
  })
}

/** @throws CniError where the kernel knows no VLANs of bridges */
export async function withVlans(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    if (!(cause instanceof LinuxError && cause.code === 'EOPNOTSUPP')) throw cause
    const lacks = 'this kernel has no VLANs of bridges (CONFIG_BRIDGE_VLAN_FILTERING)'
    throw new CniError(cniCode.notAvailable, `bridge: vlan: ${lacks}`, { cause })
  }
}
