// Work that failed waits before it is done again, each time twice as long.

const [firstMs, longestMs] = [500, 122_000]

/** By the name of the work. */
export interface BackOffs {
  /** @throws Error in the words of the Go kubelet, with the last failure, while the work is not to be tried */
  check(name: string): void
  /** @returns what the Go kubelet says of it */
  failed(name: string, error: unknown): string
  forget(name: string): void
  /** Forgets those whose name it is true for: what they waited for has come. */
  forgetAll(isMeant: (name: string) => boolean): void
}

/** The work was not tried: it failed a moment ago. */
export class TooEarlyError extends Error {
  override readonly name = 'TooEarlyError'
}

interface Wait {
  untilMs: number
  delayMs: number
  error: unknown
}

export function createBackOffs(clock: { now(): number }): BackOffs {
  const waits = new Map<string, Wait>()
  return {
    check(name) {
      const wait = waits.get(name)
      if (!wait || clock.now() >= wait.untilMs) return
      throw new TooEarlyError(refusal(wait), { cause: wait.error })
    },
    failed(name, error) {
      const before = waits.get(name)
      const delayMs = before ? Math.min(2 * before.delayMs, longestMs) : firstMs
      const wait = { untilMs: clock.now() + delayMs, delayMs, error }
      waits.set(name, wait)
      return refusal(wait)
    },
    forget: (name) => void waits.delete(name),
    forgetAll(isMeant) {
      for (const name of waits.keys()) if (isMeant(name)) waits.delete(name)
    },
  }
}

function refusal({ untilMs, delayMs, error }: Wait): string {
  const reason = error instanceof Error ? error.message : String(error)
  return `No retries permitted until ${goTime(untilMs)} (durationBeforeRetry ${goDuration(delayMs)}). Error: ${reason}`
}

/** As Go prints a time: `2026-11-29 08:00:00.5 +0000 UTC`. */
function goTime(ms: number): string {
  const [day, time = ''] = new Date(ms)
    .toISOString()
    .replace(/\.?0*Z$/, '')
    .split('T')
  return `${day} ${time} +0000 UTC`
}

/** `500ms`, `1s`, `2m2s` */
function goDuration(ms: number): string {
  if (ms < 1000) return `${ms}ms`
  const minutes = Math.floor(ms / 60_000)
  return `${minutes > 0 ? `${minutes}m` : ''}${(ms % 60_000) / 1000}s`
}
