// Takes what the mode IPVS keeps besides rules out of the kernel: virtual servers, its link, its IP sets.
import { openNetlink, type Netlink } from '@nodelet/linux'
import { ipSets } from '../ipvs/sets.ts'

/** Holds the addresses that IPVS answers for; never brought up. */
const linkName = 'kube-ipvs0'

export interface RemoveIpvsOptions {
  netns: string | undefined
  /** Leave virtual servers where the link is not there: they are of somebody else. */
  onlyWithLink: boolean
}

/**
 * Rules that refer to the sets have to be gone already. Safe to run again: the link goes after the servers. What the
 * kernel does not have is passed over.
 * @returns what could not be removed
 */
export async function removeIpvs({ netns, onlyWithLink }: RemoveIpvsOptions): Promise<Error[]> {
  using netlink = openNetlink({ netns })
  const steps = [
    async () => {
      if (onlyWithLink && !(await netlink.links.get(linkName))) return
      if ((await netlink.ipvs.version()) !== undefined) await netlink.ipvs.flush()
    },
    async () => netlink.links.delete(linkName),
    ...(await presentSets(netlink)).map((name) => async () => netlink.ipsets.destroy(name)),
  ]
  const errors: Error[] = []
  for (const step of steps) await step().catch((error: unknown) => errors.push(error as Error))
  return errors
}

async function presentSets({ ipsets }: Netlink): Promise<string[]> {
  const ours = new Set((['IPv4', 'IPv6'] as const).flatMap((family) => ipSets(family).map(({ name }) => name)))
  // A kernel without sets has none of ours.
  const present = await ipsets.list().catch(() => [])
  return present.map(({ name }) => name).filter((name) => ours.has(name))
}
