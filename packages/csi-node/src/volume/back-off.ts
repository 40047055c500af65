// Work that failed waits before it is done again, each time twice as long.

const [firstMs, longestMs] = [500, 122_000]

/** By the name of the work. */
export interface BackOffs {
  /** @throws Error in the words of the Go kubelet, with the last failure, while the work is not to be tried */
  check(name: string): void
  failed(name: string, error: unknown): void
  forget(name: string): void
  /** Forgets those whose name it is true for: what they waited for has come. */
  forgetAll(isMeant: (name: string) => boolean): void
}

/** The work was not tried: it failed a moment ago. */
export class TooEarlyError extends Error {
  override readonly name = 'TooEarlyError'
}

export function createBackOffs(clock: { now(): number }): BackOffs {
  const waits = new Map<string, { untilMs: number; delayMs: number; error: unknown }>()
  return {
    check(name) {
      const wait = waits.get(name)
      if (!wait || clock.now() >= wait.untilMs) return
      const until = new Date(wait.untilMs).toISOString()
      const reason = wait.error instanceof Error ? wait.error.message : String(wait.error)
      throw new TooEarlyError(
        `No retries permitted until ${until} (durationBeforeRetry ${goDuration(wait.delayMs)}). Error: ${reason}`,
        { cause: wait.error },
      )
    },
    failed(name, error) {
      const before = waits.get(name)
      const delayMs = before ? Math.min(2 * before.delayMs, longestMs) : firstMs
      waits.set(name, { untilMs: clock.now() + delayMs, delayMs, error })
    },
    forget: (name) => void waits.delete(name),
    forgetAll(isMeant) {
      for (const name of waits.keys()) if (isMeant(name)) waits.delete(name)
    },
  }
}

/** `500ms`, `1s`, `2m2s` */
function goDuration(ms: number): string {
  if (ms < 1000) return `${ms}ms`
  const minutes = Math.floor(ms / 60_000)
  return `${minutes > 0 ? `${minutes}m` : ''}${(ms % 60_000) / 1000}s`
}
