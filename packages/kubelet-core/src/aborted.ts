// Waiting that can be left.

/** Waits for a promise, or the abort. @throws the signal's reason */
export async function aborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise
  signal.throwIfAborted()
  const { promise: gone, reject } = Promise.withResolvers<never>()
  const leave = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', leave, { once: true })
  try {
    return await Promise.race([promise, gone])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
