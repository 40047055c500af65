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
