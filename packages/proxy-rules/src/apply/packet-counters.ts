// Makes, reads and removes the kernel's counters that rules of iptables name.
import { LinuxError, openNetlink } from '@nodelet/linux'
import { counterNames, countedBy, packetCounters, type PacketCounter } from '../iptables/packet-counters.ts'
import { argsText } from '../iptables/text.ts'
import { canary } from './cleanup.ts'
import type { Iptables } from './iptables-restore.ts'

/** Before the rules that name them. Those that are there go on counting. @throws LinuxError EINVAL without nfnetlink_acct */
export async function ensurePacketCounters(netns: string | undefined): Promise<void> {
  using netlink = openNetlink({ netns })
  for (const name of counterNames) await netlink.accounting.ensure(name)
}

/** Packets since the counter was made; undefined where there is none. */
export async function countedPackets(counter: PacketCounter, netns: string | undefined): Promise<number | undefined> {
  using netlink = openNetlink({ netns })
  return (await netlink.accounting.get(packetCounters[counter]))?.packets
}

/** Those that no rule names any more. Safe to run again. */
export async function removePacketCounters(netns: string | undefined): Promise<void> {
  using netlink = openNetlink({ netns })
  for (const name of counterNames) {
    try {
      await netlink.accounting.delete(name)
    } catch (error) {
      // Rules of the other family or variant name it, or the kernel has no such objects.
      if (!(error instanceof LinuxError && ['EBUSY', 'EINVAL'].includes(error.code))) throw error
    }
  }
}

/**
 * Loads a rule that counts where no packet comes, and takes it away again: the kernel may have the counters and no rules that
 * name them, as may the program.
 *
 * @throws LockedIptables when that cannot be told now; Error why rules cannot count here
 */
export async function tryPacketCounters(iptables: Iptables, netns: string | undefined): Promise<void> {
  await ensurePacketCounters(netns)
  const table = (rules: readonly string[]): string => ['*mangle', `:${canary} - [0:0]`, ...rules, 'COMMIT\n'].join('\n')
  await iptables.restore(table([`-A ${canary} ${argsText(countedBy('invalidDropped'))}`]) + table([]))
}
