// Static pods from a URL.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Clock, systemClock } from '../clock.ts'
import { type Logger, silentLogger } from '../log.ts'
import { startPeriod } from '../node/period.ts'
import { documentsOf } from './documents.ts'
import { ManifestError } from './manifest-error.ts'
import { staticPodOf } from './manifest.ts'
import { fullName } from './merge.ts'
import type { PodSource } from './source.ts'

export interface UrlOptions {
  /** KubeletConfiguration `staticPodURL`. */
  url: string
  /** `staticPodURLHeader`: sent with each request. */
  headers?: Readonly<Record<string, readonly string[]>> | undefined
  nodeName: string
  /** `httpCheckFrequency`, in milliseconds; default 20 s. */
  checkMs?: number
  /** Told of a pod whose name another has that comes before it: it is left out. */
  duplicate?: (pod: Pod) => void
  clock?: Clock
  log?: Logger
}

const timeoutMs = 10_000
const maxBytes = 10 * 1024 * 1024

/** A Pod or a PodList, JSON or YAML. What cannot be had or read leaves the pods as they are. */
export function urlSource(options: UrlOptions): PodSource {
  const { url, headers = {}, nodeName, checkMs = 20_000, clock = systemClock, log = silentLogger } = options
  let last: string | undefined
  let tell: (pods: readonly Pod[]) => void = () => undefined

  const read = async (signal: AbortSignal): Promise<void> => {
    const text = await fetchText(url, headers, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))
    if (text === last) return
    const documents = podsIn(text)
    const pods = documents.map((document, index) => {
      try {
        const ignored = (fields: readonly string[]): void =>
          log.warn({ url, fields }, 'fields of a pod that the API does not know are left out')
        return staticPodOf(document, { nodeName, origin: { url }, seenMs: clock.now(), ignored })
      } catch (error) {
        if (!(error instanceof ManifestError) || documents.length === 1) throw error
        throw new ManifestError(`pod ${index + 1} of ${documents.length}: ${error.message}`)
      }
    })
    last = text
    const first = new Map<string, Pod>()
    for (const pod of pods) {
      if (first.has(fullName(pod))) options.duplicate?.(pod)
      else first.set(fullName(pod), pod)
    }
    tell([...first.values()])
  }
  const period = startPeriod({
    ms: checkMs,
    clock,
    onError: () => undefined, // told below
    async run(signal) {
      try {
        await read(signal)
      } catch (error) {
        signal.throwIfAborted()
        log.warn({ err: error, url }, 'static pods cannot be read from the URL; they stay as they are')
      }
    },
  })
  return {
    name: 'http',
    async start(changed) {
      tell = changed
      period.now()
    },
    close: period.close,
  }
}

async function fetchText(
  url: string,
  headers: Readonly<Record<string, readonly string[]>>,
  signal: AbortSignal,
): Promise<string> {
  const pairs = Object.entries(headers).flatMap(([name, values]) =>
    values.map((value): [string, string] => [name, value]),
  )
  const response = await fetch(url, { headers: pairs, signal })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`GET ${url}: answered ${response.status} ${response.statusText}`)
  }
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.byteLength
    if (bytes > maxBytes) throw new ManifestError(`GET ${url}: manifests may have 10 MiB`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** @throws ManifestError */
function podsIn(text: string): unknown[] {
  return documentsOf(text).flatMap((document): unknown[] => {
    const { kind, items } = document as { kind?: unknown; items?: unknown }
    if (kind !== 'PodList') return [document]
    if (!Array.isArray(items)) throw new ManifestError('items: must be a list of pods')
    // The items of a list need not say what they are.
    return (items as object[]).map((item) => ({ apiVersion: 'v1', kind: 'Pod', ...item }))
  })
}
