// Trying again what may go better next time.
import { setTimeout as sleep } from 'node:timers/promises'
import { CriError } from '@nodelet/cri-api'
import { RegistryFailure, failureOf } from '../registry/failure.ts'

/** How often a request is tried in all. */
export const mostAttempts = 5
const firstPauseMs = 200
/** The longest that a server may have us wait. */
const longestPauseMs = 30_000

/** Network failures that a moment later may be over. A refused connection is an answer. */
const passing = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'UND_ERR_SOCKET',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
])

export function mayPass(error: unknown): boolean {
  const { code, cause } = error as { code?: string; cause?: { code?: string } }
  return passing.has(code ?? '') || passing.has(cause?.code ?? '')
}

export const isBusy = (status: number): boolean => status === 408 || status === 429 || status >= 500

/** Milliseconds that `Retry-After` asks for: seconds or a date. Undefined when it says neither. @see RFC 9110 10.2.3 */
export function retryAfterOf(header: string | undefined, now: number = Date.now()): number | undefined {
  const text = header?.trim() ?? ''
  if (/^\d+$/.test(text)) return Number(text) * 1000
  if (!/^[A-Z][a-z]+,? /.test(text)) return undefined
  // The oldest of the three forms of a date does not say that it is of Greenwich.
  const wait = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`) - now
  return Number.isNaN(wait) ? undefined : Math.max(0, wait)
}

/** How long to wait before the next attempt: what the server asks for, or twice as long each time. */
export const pauseMs = (attempt: number, asked: number | undefined): number =>
  Math.min(asked ?? firstPauseMs * 2 ** (attempt - 1), longestPauseMs)

export async function pause(attempt: number, signal: AbortSignal, asked?: number): Promise<void> {
  await sleep(pauseMs(attempt, asked), undefined, { signal })
}

/**
 * Asks one host after the other until one answers; those whose failure may pass again, a bounded number of times.
 * @throws CriError that tells of every host, in words for users
 */
export async function overHosts<H, T>(
  hosts: readonly H[],
  ask: (host: H) => Promise<T>,
  { doing, signal }: { doing: string; signal: AbortSignal },
): Promise<T> {
  const failures = new Map<H, RegistryFailure>()
  let left = hosts
  for (let attempt = 1; ; attempt += 1) {
    for (const host of left) {
      try {
        return await ask(host)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof RegistryFailure)) throw error instanceof CriError ? error : withDoing(doing, error)
        failures.set(host, error)
      }
    }
    left = left.filter((host) => failures.get(host)?.mayPass)
    if (left.length === 0 || attempt === mostAttempts) throw failureOf([...failures.values()], doing)
    const asked = left.flatMap((host) => failures.get(host)?.retryAfter ?? [])
    await pause(attempt, signal, asked.length > 0 ? Math.min(...asked) : undefined)
  }
}

const withDoing = (doing: string, error: unknown): CriError =>
  new CriError('UNKNOWN', `${doing}: ${(error as Error).message}`, { cause: error })
