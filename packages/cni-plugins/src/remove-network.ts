// Takes away what pods share: for the day the network itself goes.
import { openNetlink } from '@nodelet/linux'
import { CniError, cniCode } from './errors.ts'
import { nftTable } from './interface/masquerade-rules.ts'
import { createRules, removalOf } from './iptables.ts'
import { createNftables } from './nftables.ts'
import { nftTableOf } from './plugins/portmap/nft-rules.ts'
import { sharedChains } from './plugins/portmap/rules.ts'

/** Deletes the bridge, every chain of CNI in the nat tables, and its tables of nftables. Fine when there is nothing. */
export async function removeNetwork({ bridge, hostNetns, signal = never }: RemoveNetworkOptions): Promise<void> {
  for (const family of [4, 6] as const) {
    const rules = createRules(family, hostNetns)
    const isOfPod = /^:(CNI-DN-\w+|CNI-[a-f0-9]{24}) /
    const ofPods = (saved: readonly string[]): string[] => saved.flatMap((line) => isOfPod.exec(line)?.[1] ?? [])
    await rules.commit([{ from: (saved) => removalOf(saved, ofPods(saved)) }], signal)
    await rules.commit([{ from: (saved) => removalOf(saved, sharedChains) }], signal)
  }
  const tables = [nftTable, nftTableOf(4), nftTableOf(6)]
  const changes = tables.map((table) => ({
    table,
    from: (saved: readonly string[]) => (saved.length > 0 ? [`delete table ${table}`] : []),
  }))
  await createNftables(hostNetns)
    .commit(changes, signal)
    .catch((error: unknown) => {
      // A machine without nftables has none of them.
      if (!(error instanceof CniError && error.code === cniCode.notAvailable)) throw error
    })
  using netlink = openNetlink({ netns: hostNetns })
  await netlink.links.delete(bridge)
}

const never = new AbortController().signal

export interface RemoveNetworkOptions {
  bridge: string
  /** Path of a network namespace taken as the host's; default: this process's. */
  hostNetns?: string
  signal?: AbortSignal
}
