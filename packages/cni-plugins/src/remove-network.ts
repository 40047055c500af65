// Takes away what pods share: for the day the network itself goes.
import { openNetlink } from '@nodelet/linux'
import { createRules, removalOf } from './iptables.ts'
import { sharedChains } from './plugins/portmap/rules.ts'

/** Deletes the bridge and every chain of CNI in the nat tables. Fine when there is nothing. */
export async function removeNetwork({ bridge, hostNetns, signal = never }: RemoveNetworkOptions): Promise<void> {
  for (const family of [4, 6] as const) {
    const rules = createRules(family, hostNetns)
    const isOfPod = /^:(CNI-DN-\w+|CNI-[a-f0-9]{24}) /
    const ofPods = (saved: readonly string[]): string[] => saved.flatMap((line) => isOfPod.exec(line)?.[1] ?? [])
    await rules.commit([{ from: (saved) => removalOf(saved, ofPods(saved)) }], signal)
    await rules.commit([{ from: (saved) => removalOf(saved, sharedChains) }], signal)
  }
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
