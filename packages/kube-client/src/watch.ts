// One watch that lasts: newline-separated JSON, resumed where it broke off.

import { DEFAULT_BACKOFF, delayAfter, pause } from './backoff.ts'
import type { Backoff } from './backoff.ts'
import { ConnectionError, isTransient, isVersionTooLarge, StatusError } from './errors.ts'
import { isRecord, MalformedObjectError, malformation } from './malformed.ts'
import type { Status } from 'kubernetes-types/meta/v1.d.ts'
import type { KubeObject } from './resources.ts'
import { isTimeLeft, turn } from './slices.ts'

/** What happened. A BOOKMARK carries only `metadata.resourceVersion`: everything up to there has been told. */
export interface WatchEvent<T extends KubeObject> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  object: T
}

/** How a watch behaves over its connections. */
export interface WatchRun {
  /**
   * Tells what came after this version. Without it, or with `0`, the server first tells all that exists as ADDED, in no
   * order of versions: until a BOOKMARK has come such a watch starts over when it breaks, and tells them again.
   */
  resourceVersion?: string | undefined
  signal?: AbortSignal | undefined
  backoff?: Backoff
  /** Told of each failure that is tried again, and the delay in milliseconds. */
  onRetry?: (error: unknown, delayMs: number) => void
  /** Told of each event that cannot be told further, for what it is about has no name. Default: a process warning. */
  onSkipped?: (error: MalformedObjectError) => void
}

/** Opens one connection from a version. */
export type OpenWatch = (resourceVersion: string | undefined) => Promise<AsyncIterable<Uint8Array>>

/** A connection that lasted this long, in milliseconds, was not in vain even if it told nothing. */
const GOOD_MS = 5_000

/** Splits a stream into lines; what is left at the end without a newline was cut off and is dropped. */
export const linesOf = async function* (stream: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let parts: string[] = []
  for await (const chunk of stream) {
    const [first = '', ...rest] = decoder.decode(chunk, { stream: true }).split('\n')
    parts.push(first)
    for (const next of rest) {
      const line = parts.join('').trim()
      parts = [next]
      if (line !== '') yield line
    }
  }
}

const warn = (error: Error): void => process.emitWarning(error)

const TYPES: readonly unknown[] = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']

/** An event, or what is wrong with it; and the version that it brings. */
interface Read<T extends KubeObject> {
  event: WatchEvent<T> | MalformedObjectError
  version: string | undefined
}

const eventOf = <T extends KubeObject>(tried: string, line: string): Read<T> => {
  let event: unknown
  try {
    event = JSON.parse(line)
  } catch (cause) {
    throw new ConnectionError(`${tried}: an event is not JSON: ${line.slice(0, 200)}`, { cause })
  }
  const { type, object }: Record<string, unknown> = isRecord(event) ? event : {}
  if (type === 'ERROR') throw new StatusError(tried, isRecord(object) ? (object as Status) : {})
  const metadata = isRecord(object) && isRecord(object['metadata']) ? object['metadata'] : undefined
  const version = typeof metadata?.['resourceVersion'] === 'string' ? metadata['resourceVersion'] : undefined
  const where = tried.replace(/^watch /, '')
  const error =
    TYPES.includes(type) && (type !== 'BOOKMARK' || !metadata)
      ? malformation(where, object)
      : TYPES.includes(type)
        ? undefined
        : new MalformedObjectError(
            `${where}: an event has no type that is known: ${line.slice(0, 200)}; it is left out`,
          )
  return { event: error ?? (event as WatchEvent<T>), version }
}

/**
 * Watches until the signal aborts or the caller leaves the loop. A close, a cut and a transient error are followed by a
 * new connection from the last version: at once when the server closed after progress, else after a back-off.
 * @param open its failures, and those of its stream, must be this package's errors
 * @throws KubeconfigError, and StatusError for a refusal; with {@link isGone} the version is too old, with
 * {@link isVersionTooLarge} it is from the future: list again. The signal's reason on abort
 */
export const runWatch = async function* <T extends KubeObject>(
  tried: string,
  open: OpenWatch,
  run: WatchRun = {},
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  let version = run.resourceVersion === '0' ? undefined : run.resourceVersion
  const start = run.resourceVersion
  let failures = 0
  for (;;) {
    run.signal?.throwIfAborted()
    const opened = performance.now()
    let progress = false
    let failure: StatusError | ConnectionError | undefined
    try {
      for await (const line of linesOf(await open(version ?? start))) {
        const { event, version: seen } = eventOf<T>(tried, line)
        const isMalformed = event instanceof MalformedObjectError
        if (seen !== undefined && (version !== undefined || (!isMalformed && event.type === 'BOOKMARK'))) {
          version = seen
          progress = true
        }
        if (isMalformed) (run.onSkipped ?? warn)(event)
        else yield event
        // Many may have come at once.
        if (!isTimeLeft()) {
          await turn()
          run.signal?.throwIfAborted()
        }
      }
    } catch (error) {
      run.signal?.throwIfAborted()
      // A version that the server never reaches is no matter of waiting.
      if (!isTransient(error) || isVersionTooLarge(error)) throw error
      failure = error
    }
    const good = progress || (failure === undefined && performance.now() - opened >= GOOD_MS)
    if (good) failures = 0
    if (good && failure === undefined) continue
    failures++
    const asked = failure instanceof StatusError ? (failure.details.retryAfterSeconds ?? 0) * 1000 : 0
    const delay = Math.max(asked, delayAfter(failures, run.backoff ?? DEFAULT_BACKOFF, Math.random()))
    run.onRetry?.(failure ?? new ConnectionError(`${tried}: the server closed the watch at once`), delay)
    await pause(delay, run.signal)
  }
}
