// A file for one at a time, also among programs: by the same locks as the reference plugins take.
import { setTimeout as sleep } from 'node:timers/promises'
import { lockFile } from '@nodelet/linux'

/** How often a lock is tried that another has, in milliseconds: a wait of the kernel's could not be given up. */
const tryMs = 10

/**
 * @param what as `lockFile` has it. @throws the signal's reason; Error where there is no such file or folder
 */
export async function withFileLock<Value>(
  path: string,
  what: 'made' | 'exists',
  signal: AbortSignal,
  work: () => Value | Promise<Value>,
): Promise<Value> {
  for (;;) {
    using held = lockFile(path, what)
    if (held) return await work()
    await sleep(tryMs, undefined, { signal })
  }
}
