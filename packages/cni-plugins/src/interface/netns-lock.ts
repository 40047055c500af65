// A pod's namespace for one at a time, by the same lock as the reference plugins take.
import { setTimeout as sleep } from 'node:timers/promises'
import { lockFile } from '@nodelet/linux'

/** How often a lock is tried that another has, in milliseconds: a wait of the kernel's could not be given up. */
const tryMs = 10

/** @throws the signal's reason; Error where there is no such file */
export async function withNetnsLock<Value>(
  netns: string,
  signal: AbortSignal,
  work: () => Promise<Value>,
): Promise<Value> {
  for (;;) {
    using held = lockFile(netns, 'exists')
    if (held) return await work()
    await sleep(tryMs, undefined, { signal })
  }
}
