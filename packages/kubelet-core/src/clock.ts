// Time as the kubelet uses it; tests bring their own.

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Calls back once after so many milliseconds; returns how to cancel. */
  after(ms: number, call: () => void): () => void
}

/** The longest that Node's timers wait. */
const longestMs = 2_147_483_647

export const systemClock: Clock = {
  now: Date.now,
  after(ms, call) {
    const timer = setTimeout(call, Math.min(Math.max(0, ms), longestMs))
    return () => clearTimeout(timer)
  },
}

/** Calls back once at this time, however far it is, in milliseconds since the epoch; returns how to cancel. */
export function callAt(clock: Clock, timeMs: number, call: () => void): () => void {
  let cancel: () => void
  const look = (): void => {
    const leftMs = timeMs - clock.now()
    cancel = leftMs > longestMs ? clock.after(longestMs, look) : clock.after(Math.max(0, leftMs), call)
  }
  look()
  return () => cancel()
}
