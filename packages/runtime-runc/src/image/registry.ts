// One repository, from whichever of its hosts serves it. @see OCI distribution-spec 1.1
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig } from '@nodelet/cri-api'
import type { Dispatcher } from 'undici'
import { digestLike, digestPattern } from '../digest.ts'
import { bytesOf, connect, reasonOf } from '../registry/connection.ts'
import type { Connection } from '../registry/connection.ts'
import { RegistryFailure } from '../registry/failure.ts'
import { ownHost } from '../registry/host.ts'
import type { Capability, RegistryHost } from '../registry/host.ts'
import { createProgressWatch } from '../registry/progress-watch.ts'
import { createTokenCache } from '../registry/token-cache.ts'
import type { TokenCache } from '../registry/token-cache.ts'
import { manifestTypes } from './manifest.ts'
import type { Descriptor } from './manifest.ts'
import { nameOf, printReference } from './reference.ts'
import type { Reference } from './reference.ts'
import { mayPass, overHosts, pause } from './retry.ts'

export interface RepositoryOptions {
  auth?: AuthConfig | undefined
  /** In the order to try. Default: the registry itself. */
  hosts?: readonly RegistryHost[] | undefined
  tokens?: TokenCache | undefined
  /** Milliseconds without a byte after which all ends; 0: never. Default: 5 minutes. */
  progressTimeout?: number | undefined
}

/** What a pull needs of a repository. */
export interface Repository extends AsyncDisposable {
  /** Aborts when nothing moves any more. */
  readonly signal: AbortSignal
  /** The manifest or index that the reference names, checked when a digest was written. */
  resolve(signal: AbortSignal): Promise<{ content: Buffer; digest: string }>
  /** A manifest by its descriptor, checked. */
  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>
  /** A blob's bytes from an offset, not checked. Goes on where a broken connection ended. */
  blob(descriptor: Descriptor, signal: AbortSignal, from?: number): AsyncIterable<Uint8Array>
  /** What came for this digest was wrong: another host is asked first from now on. */
  distrust(digest: string): void
}

/** Manifests are small; a registry that sends more is wrong or hostile. Bytes, as containerd's limit. */
const largestManifest = 8 * 1024 * 1024
/** A connection on which nothing came for so long counts as dead. */
const longestSilenceMs = 60_000
const defaultProgressTimeout = 300_000
/** Broken connections of a blob, one after the other, without a byte between. */
const mostFruitless = 3

/** @throws CriError when the hosts' certificates are none */
export function openRepository(reference: Reference, options: RepositoryOptions = {}): Repository {
  const { domain, path } = reference
  const { progressTimeout = defaultProgressTimeout } = options
  const silenceMs = Math.min(longestSilenceMs, progressTimeout / 5 || longestSilenceMs)
  const what = printReference(reference)
  const resolving = `failed to resolve reference "${what}"`
  const watch = createProgressWatch(progressTimeout)
  const open = (host: RegistryHost): Connection =>
    connect(host, {
      domain,
      path,
      what,
      auth: options.auth,
      tokens: options.tokens ?? createTokenCache(),
      limits: { silenceMs },
    })
  const connections = openAll(options.hosts ?? [ownHost(domain)], open, resolving)
  /** They did not answer: not asked again while there are others. */
  const lost = new Set<Connection>()
  /** By digest, who sent it last, a host or another address; and who sent it wrong. */
  const senders = new Map<string, Connection | string>()
  const liars = new Map<string, Set<Connection | string>>()

  const ask = async <T>(
    capability: Capability,
    digest: string | undefined,
    doing: string,
    signal: AbortSignal,
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> => {
    const able = connections.filter(({ host }) => host.capabilities.includes(capability))
    const weight = (one: Connection): number => (liars.get(digest ?? '')?.has(one) ? 2 : 0) + (lost.has(one) ? 1 : 0)
    const ordered = able.toSorted((a, b) => weight(a) - weight(b))
    const ready = ordered.filter((one) => !lost.has(one))
    const hosts = ready.length > 0 ? ready : ordered
    return watch.waiting(async () =>
      overHosts(
        hosts,
        async (one) => {
          try {
            return await work(one)
          } catch (error) {
            if (error instanceof RegistryFailure && error.kind === 'unreachable' && !error.mayPass) lost.add(one)
            throw error
          }
        },
        { doing, signal },
      ),
    )
  }

  const fetchManifest = async (
    named: string,
    expected: { digest?: string | undefined; size?: number },
    signal: AbortSignal,
  ): Promise<Buffer> => {
    const capability = expected.digest === undefined ? 'resolve' : 'pull'
    return ask(capability, expected.digest, resolving, signal, async (connection) => {
      const accept = [...manifestTypes, '*/*'].join(', ')
      const response = await connection.get(`manifests/${named}`, { accept }, signal)
      const content = await wholeOf(response, largestManifest, `manifest ${named} of ${nameOf(reference)}`)
      watch.moved()
      const told = String(response.headers['docker-content-digest'] ?? '')
      const digest = expected.digest ?? (digestPattern.test(told) ? told : undefined)
      const got = digestLike(digest ?? 'sha256:', content)
      const isOther = digest !== undefined && got !== digest
      if (isOther || (expected.size !== undefined && expected.size !== content.length)) {
        const text = `manifest ${named} of ${nameOf(reference)} is corrupt: ${content.length} bytes came with digest ${got}`
        throw new RegistryFailure('refused', `${text} from ${connection.name}`)
      }
      return content
    })
  }

  const openBlob = async (
    { digest, urls }: Descriptor,
    from: number,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> => {
    const doing = `failed to copy blob ${digest} of "${what}"`
    const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {}
    try {
      return await ask('pull', digest, doing, signal, async (connection) => {
        const response = await connection.get(`blobs/${digest}`, headers, signal)
        senders.set(digest, connection)
        return response
      })
    } catch (error) {
      const [own] = connections
      const elsewhere = (urls ?? []).filter((url) => /^https?:\/\//.test(url))
      if (!own || elsewhere.length === 0 || !(error instanceof CriError) || signal.aborted) throw error
      // What a registry may not give away it says another place for; the digest decides what is right.
      const liesOf = (url: string): number => (liars.get(digest)?.has(url) ? 1 : 0)
      return watch.waiting(async () =>
        overHosts(
          elsewhere.toSorted((a, b) => liesOf(a) - liesOf(b)),
          async (url) => {
            const response = await own.get(url, headers, signal)
            senders.set(digest, url)
            return response
          },
          { doing, signal },
        ),
      )
    }
  }

  const fetchBlob = async function* (
    descriptor: Descriptor,
    signal: AbortSignal,
    start: number,
  ): AsyncGenerator<Uint8Array> {
    const doing = `failed to copy blob ${descriptor.digest} of "${what}"`
    let done = start
    for (let fruitless = 0; ;) {
      const from = done
      const response = await openBlob(descriptor, from, signal)
      let known = response.statusCode === 206 ? from - startOf(response, from) : from // sent again from the start
      const chunks = (response.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
      try {
        for (;;) {
          const next = await watch.waiting(async () => chunks.next())
          if (next.done) return // whether it is all of it is checked where it is written
          watch.moved()
          const fresh = next.value.subarray(Math.min(known, next.value.length))
          known -= next.value.length - fresh.length
          done += fresh.length
          if (fresh.length > 0) yield fresh
        }
      } catch (cause) {
        signal.throwIfAborted()
        // Silence is bounded by the pull's progress where that is watched.
        const isSilence = (cause as { code?: string }).code === 'UND_ERR_BODY_TIMEOUT' && progressTimeout > 0
        if (done > from) fruitless = 0
        if (!isSilence) fruitless += 1
        if (fruitless > mostFruitless || !mayPass(cause)) {
          const reason = `after ${done} of ${descriptor.size} bytes: ${reasonOf(cause)}`
          throw new CriError('UNKNOWN', `${doing}: ${reason}`, { cause })
        }
        await watch.waiting(async () => pause(Math.max(1, fruitless), signal))
      } finally {
        response.body.on('error', () => undefined).destroy() // the reader left; nobody is told
      }
    }
  }

  return {
    signal: watch.signal,
    resolve: async (signal) => {
      const { digest } = reference
      const content = await fetchManifest(digest ?? reference.tag ?? 'latest', { digest }, signal)
      return { content, digest: digest ?? digestLike('sha256:', content) }
    },
    manifest: async ({ digest, size }, signal) => fetchManifest(digest, { digest, size }, signal),
    blob: (descriptor, signal, from = 0) => fetchBlob(descriptor, signal, from),
    distrust: (digest) => {
      const sender = senders.get(digest)
      if (sender) liars.set(digest, (liars.get(digest) ?? new Set()).add(sender))
    },
    [Symbol.asyncDispose]: async () => {
      watch[Symbol.dispose]()
      await Promise.all(connections.map(async (one) => one[Symbol.asyncDispose]()))
    },
  }
}

function openAll(
  hosts: readonly RegistryHost[],
  open: (host: RegistryHost) => Connection,
  doing: string,
): Connection[] {
  try {
    return hosts.map(open)
  } catch (cause) {
    throw new CriError('UNKNOWN', `${doing}: ${(cause as Error).message}`, { cause })
  }
}

/** A body that breaks off is as a request that failed. */
async function wholeOf(response: Dispatcher.ResponseData, limit: number, name: string): Promise<Buffer> {
  try {
    return await bytesOf(response, limit, name)
  } catch (cause) {
    if (!mayPass(cause)) throw cause
    throw new RegistryFailure('unreachable', `${name}: ${reasonOf(cause)}`, { mayPass: true, cause })
  }
}

/** Where a partial answer begins; some servers round down. */
function startOf({ headers }: Dispatcher.ResponseData, asked: number): number {
  const start = /^bytes (\d+)-/.exec(String(headers['content-range'] ?? ''))?.[1]
  return start === undefined ? asked : Math.min(Number(start), asked)
}
