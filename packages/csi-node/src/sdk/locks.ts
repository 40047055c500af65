// One operation at a time for each volume, snapshot or name: a second one is refused, not queued.
import { CsiError } from './errors.ts'

export interface Locks {
  /** @throws CsiError ABORTED while other work on one of the keys goes on */
  hold<T>(keys: readonly string[], work: () => Promise<T>): Promise<T>
}

export function createLocks(): Locks {
  const held = new Set<string>()
  return {
    async hold(keys, work) {
      const busy = keys.find((key) => held.has(key))
      if (busy !== undefined) throw new CsiError('ABORTED', `an operation on ${busy} is already in progress`)
      for (const key of keys) held.add(key)
      try {
        return await work()
      } finally {
        for (const key of keys) held.delete(key)
      }
    },
  }
}
