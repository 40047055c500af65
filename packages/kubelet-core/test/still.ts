import type { Clock } from '../src/clock.ts'

/** Time that passes only when it is told to. */
export function still(): Clock & { pass(ms: number): void } {
  let nowMs = 1_000_000
  const waiting = new Map<() => void, number>()
  return {
    now: () => nowMs,
    after: (ms, call) => {
      waiting.set(call, nowMs + ms)
      return () => void waiting.delete(call)
    },
    pass: (ms) => {
      nowMs += ms
      for (const [call, at] of waiting) if (at <= nowMs && waiting.delete(call)) call()
    },
  }
}
