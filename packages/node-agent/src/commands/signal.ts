// How long-running commands are ended.
import { Interrupted } from '../errors.ts'

/** Aborted by the first SIGINT or SIGTERM; the second ends the process at once. */
export function untilSignal(): AbortSignal {
  const ending = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (ending.signal.aborted) process.exit(130)
      ending.abort(new Interrupted(name))
    })
  }
  return ending.signal
}

/** Fulfilled when the signal is aborted. */
export async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}
