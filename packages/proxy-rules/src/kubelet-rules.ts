// The rules of a kubelet (`makeIPTablesUtilChains`): made, and made again when somebody has flushed them.
import { setTimeout as sleep } from 'node:timers/promises'
import { canaryText, wasFlushed } from './apply/canary.ts'
import type { Iptables } from './apply/iptables-restore.ts'
import { openIptables } from './apply/iptables-tools.ts'
import type { IptablesVariant } from './apply/iptables-variant.ts'
import { kubeletCanary, kubeletProgram } from './apply/kubelet-program.ts'
import { iptablesText } from './iptables/text.ts'
import { silentLogger, type Logger } from './log.ts'
import type { IPFamily } from './net/address.ts'

export interface KubeletRulesOptions {
  /** A pinned network namespace that stands for the host; default: the own. */
  netns?: string
  /** Which iptables; default: that which has other rules, else what the machine's `iptables` is. */
  iptablesVariant?: IptablesVariant
  /** Milliseconds between looks whether somebody has flushed the rules; default 1 minute. */
  periodMs?: number
  log?: Logger
}

/**
 * Makes the chains `KUBE-IPTABLES-HINT` and `KUBE-KUBELET-CANARY` and, for IPv4, `KUBE-FIREWALL`, which drops what comes from
 * elsewhere for 127.0.0.0/8; keeps them until disposed, and leaves them then. What cannot be made is told to the log once,
 * and tried again each period. Needs root and `iptables` 1.6.2 or later.
 */
export async function keepKubeletRules(options: KubeletRulesOptions = {}): Promise<AsyncDisposable> {
  const { periodMs = 60_000 } = options
  const closing = new AbortController()
  const { signal } = closing
  const keepers = (['IPv4', 'IPv6'] as const).map((family) => createKeeper(family, options))
  const keep = async (): Promise<void> => void (await Promise.all(keepers.map((one) => one())))
  await keep()
  const turns = (async () => {
    // The sleep is refused when the signal ends it.
    while (!signal.aborted) await sleep(periodMs, undefined, { signal, ref: false }).then(keep, () => undefined)
  })()
  return {
    async [Symbol.asyncDispose]() {
      closing.abort()
      await turns
    },
  }
}

/** Makes what is not there. Never rejects. */
function createKeeper(
  family: IPFamily,
  { netns, iptablesVariant: variant, log = silentLogger }: KubeletRulesOptions,
): () => Promise<void> {
  let iptables: Iptables | undefined
  let isMade = false
  let isTold = false
  return async () => {
    try {
      iptables ??= await openIptables(family, { netns, variant })
      if (isMade && !(await wasFlushed(iptables, kubeletCanary))) return
      if (isMade) log.warn({ family }, 'somebody has flushed the rules of the kubelet: they are made again')
      isMade = false
      await iptables.update((saved) => [iptablesText(kubeletProgram(family, saved)) + canaryText(kubeletCanary)])
      isMade = true
      isTold = false
    } catch (error) {
      if (isTold) return
      isTold = true
      const fields = { err: error, family }
      if (iptables) log.warn(fields, 'the rules of the kubelet could not be made: it is tried again')
      else log.info(fields, 'no iptables here: there are no rules of the kubelet')
    }
  }
}
