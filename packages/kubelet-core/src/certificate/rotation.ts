// Keeps a certificate good: asks for another before it ends, and when it is not, or no longer, what is wanted.
import { StatusError } from '@nodelet/kube-client'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { CertificateStore } from './store.ts'
import { exportKey, type KeyPair, newKeys, validityOf } from './x509.ts'

export interface RotationOptions {
  /** For the log: `client` or `server`. */
  what: string
  store: CertificateStore
  /** @param key PEM. @returns PEM, once somebody has signed it */
  request(key: string, signal: AbortSignal): Promise<string>
  /** Whether the certificate that is there is for what is wanted now. Default: any is. */
  fits?(pair: KeyPair): boolean
  /** There is another one on disk. */
  changed?(pair: KeyPair): void
  failed?(): void
  /** For so long there has been none that is good, though the server answers: it does not know us any more. */
  lost?(error: Error): void
  clock: Clock
  log: Logger
}

export interface Rotation {
  /** When the certificate ends, in milliseconds since the epoch; undefined while there is none. */
  expiresMs(): number | undefined
  close(): Promise<void>
}

/** At a random point of the time between 70 and 90 % of its life. @param random 0 to 1 */
export const rotateAtMs = ({ notBefore, notAfter }: { notBefore: number; notAfter: number }, random: number): number =>
  notBefore + (notAfter - notBefore) * (0.7 + 0.2 * random)

const firstRetryMs = 2000
const longestRetryMs = 32_000
/** So long a request waits for its approval, before another is made. */
const longestWaitMs = 900_000
/** So long a node may be without a certificate. */
const patienceMs = 300_000
/** Timers reach no further; then it is looked again. */
const longestTimerMs = 86_400_000

export function startRotation(options: RotationOptions): Rotation {
  const { what, store, clock, log, fits = () => true } = options
  const closing = new AbortController()
  const { signal } = closing
  let expiresMs: number | undefined
  let goodMs = clock.now()

  const renew = async (): Promise<void> => {
    const key = await exportKey((await newKeys()).privateKey)
    const certificate = await options.request(key, AbortSignal.any([signal, AbortSignal.timeout(longestWaitMs)]))
    const pair = { certificate, key }
    if (!validityOf(pair)) throw new Error('what was signed is not a certificate of the key that was made')
    await store.write(pair, clock.now())
    options.changed?.(pair)
    log.info({ what, expires: new Date(validityOf(pair)?.notAfter ?? 0).toISOString() }, 'a certificate was renewed')
  }

  const run = async (): Promise<void> => {
    let failures = 0
    const random = Math.random()
    let renewed = false
    while (!signal.aborted) {
      try {
        const pair = await store.read()
        const life = pair && validityOf(pair)
        expiresMs = life?.notAfter
        goodMs = Math.max(goodMs, Math.min(expiresMs ?? 0, clock.now()))
        const dueMs = pair && life && fits(pair) ? rotateAtMs(life, random) : clock.now()
        if (dueMs > clock.now()) {
          ;[failures, renewed] = [0, false]
          await pause(clock, Math.min(dueMs - clock.now(), longestTimerMs), signal)
          continue
        }
        if (renewed) throw new Error('the certificate that was signed is not what was asked for, or has ended already')
        await renew()
        renewed = true
      } catch (error) {
        renewed = false
        if (signal.aborted) return
        options.failed?.()
        if (isAnswer(error) && clock.now() - goodMs >= patienceMs) {
          const since = new Date(goodMs).toISOString()
          options.lost?.(
            new Error(`no valid ${what} certificate since ${since}, and the server responds`, { cause: error }),
          )
        }
        const again = Math.min(firstRetryMs * 2 ** failures++, longestRetryMs)
        log.warn({ err: error, what, again }, 'a certificate could not be renewed')
        await pause(clock, again, signal)
      }
    }
  }
  const running = run().catch((error: unknown) => log.error({ err: error, what }, 'certificates are no longer renewed'))
  return {
    expiresMs: () => expiresMs,
    async close() {
      closing.abort(new Error('the kubelet stops'))
      await running
    },
  }
}

/** The API server itself refused. */
const isAnswer = (error: unknown): boolean => error instanceof StatusError && [401, 403, 404].includes(error.code)

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const waited = Promise.withResolvers<void>()
  const cancel = clock.after(ms, waited.resolve)
  const leave = (): void => waited.resolve()
  signal.addEventListener('abort', leave, { once: true })
  await waited.promise
  signal.removeEventListener('abort', leave)
  cancel()
}
