import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until a condition holds, at most five seconds. */
export const eventually = async (what: string, holds: () => boolean): Promise<void> => {
  for (const end = Date.now() + 5000; Date.now() < end; await sleep(5)) if (holds()) return
  throw new Error(`not within 5 s: ${what}`)
}
