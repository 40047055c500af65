// Trying again what may go better next time.
import { setTimeout as sleep } from 'node:timers/promises'

/** How often a request is tried in all. */
export const mostAttempts = 5
const firstPauseMs = 200
const longestPauseMs = 30_000

/** Network failures that a moment later may be over. A refused connection is an answer. */
const passing = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'UND_ERR_SOCKET', 'UND_ERR_BODY_TIMEOUT'])

export function mayPass(error: unknown): boolean {
  const { code, cause } = error as { code?: string; cause?: { code?: string } }
  return passing.has(code ?? '') || passing.has(cause?.code ?? '')
}

export const isBusy = (status: number): boolean => status === 429 || status >= 500

/** Waits before the next attempt: what the server asks for, or twice as long each time. */
export async function pause(attempt: number, signal: AbortSignal, retryAfter?: string): Promise<void> {
  const asked = Number(retryAfter) * 1000
  const wait = asked > 0 ? asked : firstPauseMs * 2 ** (attempt - 1)
  await sleep(Math.min(wait, longestPauseMs), undefined, { signal })
}
