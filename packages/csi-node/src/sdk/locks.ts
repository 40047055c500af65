// One operation at a time for each volume, snapshot or name: a second one is refused, not queued.
import { CsiError } from './errors.ts'

export interface Locks {
  /**
   * @param shared keys that others may share meanwhile, and nobody may have for himself
   * @throws CsiError ABORTED while other work on one of the keys goes on
   */
  hold<T>(keys: readonly string[], work: () => Promise<T>, shared?: readonly string[]): Promise<T>
}

export function createLocks(): Locks {
  const held = new Set<string>()
  /** How many share a key. */
  const sharers = new Map<string, number>()
  const share = (key: string, more: number): void => {
    const count = (sharers.get(key) ?? 0) + more
    if (count > 0) sharers.set(key, count)
    else sharers.delete(key)
  }
  return {
    async hold(keys, work, shared = []) {
      const busy = keys.find((key) => held.has(key) || sharers.has(key)) ?? shared.find((key) => held.has(key))
      if (busy !== undefined) throw new CsiError('ABORTED', `an operation on ${busy} is already in progress`)
      for (const key of keys) held.add(key)
      for (const key of shared) share(key, 1)
      try {
        return await work()
      } finally {
        for (const key of keys) held.delete(key)
        for (const key of shared) share(key, -1)
      }
    },
  }
}
