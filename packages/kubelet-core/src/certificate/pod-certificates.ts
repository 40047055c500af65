// The certificates of pods: for each source of a volume a key, a request, and what a signer made of it; kept fresh.
// All of it is in memory: after a restart everything is asked for anew, as the Go kubelet does.
import {
  type Informer,
  type KubeClient,
  type PodCertificateRequest,
  podCertificateRequests,
  serviceAccounts,
  startInformer,
} from '@nodelet/kube-client'
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import { aborted } from '../aborted.ts'
import { callAt, type Clock } from '../clock.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { untilDone } from '../retry.ts'
import { createTurns } from '../serial.ts'
import { makePodKey, type PodKey, type PodKeyType } from './pod-key.ts'
import { accountOf, type Outcome, outcomeOf, type PodCertificateProjection, podRequest } from './pod-request.ts'

/** Key and certificates of a pod, PEM. */
export interface PodCredential {
  /** PKCS#8. */
  key: string
  /** The pod's own first. */
  chain: string
}

/** Which source of which volume. */
export interface PodCertificatePlace {
  volume: string
  /** Of the volume's sources. */
  index: number
}

export type PodCertificateState = 'not_yet_issued' | 'fresh' | 'overdue_for_refresh' | 'expired' | 'denied' | 'failed'

export interface PodCertificates extends AsyncDisposable {
  /**
   * The newest there is. Asks for it when it was not asked before, and waits for a moment.
   * @throws Error in upstream's words while it is not issued, and when it was refused
   */
  get(
    pod: Pod,
    place: PodCertificatePlace,
    source: PodCertificateProjection,
    signal?: AbortSignal,
  ): Promise<PodCredential>
  forget(podUid: string): void
  /** Calls back when {@link get} would answer otherwise; returns how to stop. */
  onChange(changed: (podUid: string) => void): () => void
  /** Of each source that is asked for. */
  states(): { signerName: string; state: PodCertificateState }[]
}

export interface PodCertificateOptions {
  client: Pick<KubeClient, 'create' | 'get' | 'list' | 'watch'>
  nodeName: string
  /** This node as last seen. */
  node(): Node | undefined
  events: Pick<EventRecorder, 'record'>
  clock: Clock
  log: Logger
}

/** How long a pod's turn waits, in milliseconds; then it is told, and comes again. */
const waitMs = 3000
const overdueMs = 600_000
const assumedDeletedMs = 600_000
/** Between requests of one source, whatever its certificates say: the clocks of signer and node may differ. */
const leastMs = 60_000
const jitterMs = (): number => Math.random() * 300_000
const retry = { firstMs: 100, longestMs: 60_000 }

interface Projection {
  pod: Pod
  source: PodCertificateProjection
  credential?: PodCredential & { refreshMs: number; notAfterMs: number }
  refused?: Extract<Outcome, { kind: 'refused' }>
  /** Why the last try came to nothing. */
  problem?: unknown
  /** Ends with the first credential, or when there will be none. */
  decided: PromiseWithResolvers<void>
  ending: AbortController
  running: Promise<void>
}

interface Context extends PodCertificateOptions {
  requests(): Informer<PodCertificateRequest>
  /** One is made at a time: the threads that make them are those that read and write files. */
  newKey(type: PodKeyType, signal: AbortSignal): Promise<PodKey>
  changed(podUid: string): void
}

export function createPodCertificates(options: PodCertificateOptions): PodCertificates {
  const { client, nodeName, clock, log } = options
  const pods = new Map<string, Map<string, Projection>>()
  const listeners = new Set<(podUid: string) => void>()
  const turns = createTurns()
  let informer: Informer<PodCertificateRequest> | undefined
  const onError = (error: unknown): void => log.warn({ err: error }, 'watching requests for certificates of pods')
  const context: Context = {
    ...options,
    // Few pods ask for them, so that most nodes never do.
    requests: () =>
      (informer ??= startInformer(client, podCertificateRequests, {
        fieldSelector: `spec.nodeName=${nodeName}`,
        onError,
      })),
    newKey: async (type, signal) =>
      turns.take(['key'], async () => {
        signal.throwIfAborted()
        return makePodKey(type)
      }),
    changed: (podUid) => listeners.forEach((listener) => listener(podUid)),
  }
  const all = (): Projection[] => [...pods.values()].flatMap((ofPod) => [...ofPod.values()])
  return {
    async get(pod, { volume, index }, source, signal) {
      const { uid = '' } = pod.metadata ?? {}
      const ofPod = pods.get(uid) ?? new Map<string, Projection>()
      pods.set(uid, ofPod)
      const key = JSON.stringify([volume, index])
      const one = ofPod.get(key) ?? begin(pod, source, context)
      ofPod.set(key, one)
      await soon(one.decided.promise, clock, signal)
      return credentialOf(one)
    },
    forget(podUid) {
      for (const { ending } of pods.get(podUid)?.values() ?? []) ending.abort(new Error('the pod is gone'))
      pods.delete(podUid)
    },
    onChange(changed) {
      listeners.add(changed)
      return () => void listeners.delete(changed)
    },
    states: () => all().map((one) => ({ signerName: one.source.signerName, state: stateOf(one, clock.now()) })),
    async [Symbol.asyncDispose]() {
      for (const { ending } of all()) ending.abort(new Error('the kubelet stops'))
      await Promise.all(all().map(({ running }) => running))
      await informer?.stop()
    },
  }
}

/** @throws the signal's reason */
async function soon(promise: Promise<void>, clock: Clock, signal?: AbortSignal): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const cancel = clock.after(waitMs, resolve)
  try {
    await aborted(Promise.race([promise, late]), signal)
  } finally {
    cancel()
  }
}

function credentialOf({ refused, credential, problem }: Projection): PodCredential {
  if (refused) {
    const { type, reason, message } = refused
    const what = `PodCertificateRequest was permanently ${type.toLowerCase()}`
    throw new Error(`${what}: reason=${JSON.stringify(reason)} message=${JSON.stringify(message)}`)
  }
  if (credential) return credential
  const why = problem instanceof Error ? `: ${problem.message}` : ''
  throw new Error(`credential bundle is not issued yet${why}`, { cause: problem })
}

function stateOf({ refused, credential }: Projection, nowMs: number): PodCertificateState {
  if (refused) return refused.type === 'Denied' ? 'denied' : 'failed'
  if (!credential) return 'not_yet_issued'
  if (nowMs > credential.notAfterMs) return 'expired'
  return nowMs > credential.refreshMs + overdueMs ? 'overdue_for_refresh' : 'fresh'
}

function begin(pod: Pod, source: PodCertificateProjection, context: Context): Projection {
  const one: Projection = {
    pod,
    source,
    decided: Promise.withResolvers<void>(),
    ending: new AbortController(),
    running: Promise.resolve(),
  }
  one.running = keepFresh(one, context).catch((error: unknown) => {
    if (!one.ending.signal.aborted)
      context.log.error({ err: error }, 'a certificate of a pod is not kept fresh any more')
  })
  return one
}

/** Until it is refused, or nobody wants it any more. @throws the signal's reason */
async function keepFresh(one: Projection, context: Context): Promise<void> {
  const { clock, log, changed } = context
  const { uid = '', name, namespace } = one.pod.metadata ?? {}
  const { signal } = one.ending
  while (!one.refused) {
    const stopTelling = one.credential && tellAge(one, one.credential, context)
    try {
      await untilDone(async () => ask(one, context), {
        ...retry,
        clock,
        signal,
        onError(error, againMs) {
          one.problem = error
          log.warn({ err: error, pod: name, namespace, again: againMs }, 'no certificate for a pod yet')
        },
      })
    } finally {
      stopTelling?.()
    }
    delete one.problem
    one.decided.resolve()
    changed(uid)
    if (one.credential) await reached(Math.max(one.credential.refreshMs, clock.now() + leastMs), clock, signal)
  }
}

/** @throws the signal's reason */
async function reached(timeMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const cancel = callAt(clock, timeMs, resolve)
  try {
    await aborted(promise, signal)
  } finally {
    cancel()
  }
}

/** Tells when a certificate that is to be replaced grows old; returns how to stop. */
function tellAge(
  { pod }: Projection,
  { refreshMs, notAfterMs }: { refreshMs: number; notAfterMs: number },
  { events, clock }: Context,
): () => void {
  const tell = (timeMs: number, reason: string, message: string): (() => void) =>
    callAt(clock, timeMs, () => events.record(pod, { type: 'Warning', reason, message }))
  const cancels = [
    tell(refreshMs + overdueMs, 'CertificateOverdueForRefresh', 'PodCertificate refresh overdue'),
    tell(notAfterMs, 'CertificateExpired', 'PodCertificate expired'),
  ]
  return () => cancels.forEach((cancel) => cancel())
}

/** One request, from its key until a signer has decided. @throws Error saying at which step it ended */
async function ask(one: Projection, context: Context): Promise<void> {
  const { pod, source } = one
  const { client, nodeName, node, events } = context
  const { signal } = one.ending
  const { namespace = 'default' } = pod.metadata ?? {}
  const account = await step('fetching service account', async () =>
    client.get(serviceAccounts, { namespace, name: accountOf(pod) }, { signal }),
  )
  const { uid: serviceAccountUID = '' } = account.metadata ?? {}
  const nodeUID = node()?.metadata?.uid
  if (nodeUID === undefined) throw new Error(`while getting node object from local cache: node "${nodeName}" not found`)
  const what = one.credential ? 'creating refresh PodCertificateRequest' : 'creating initial PodCertificateRequest'
  const { key, request } = await step(`${what}: while generating keypair`, async () =>
    context.newKey(source.keyType, signal),
  )
  const facts = { serviceAccountUID, nodeName, nodeUID, request }
  const made = await step(`${what}: while creating on API`, async () =>
    client.create(podCertificateRequests, podRequest(pod, source, facts), { signal }),
  )
  const outcome = await decision(made, context.requests(), context.clock, signal)
  if (outcome.kind === 'issued') {
    const { chain, beginRefreshMs, notAfterMs } = outcome
    one.credential = { key, chain, notAfterMs, refreshMs: beginRefreshMs + jitterMs() }
    return
  }
  const { type, reason, message } = outcome
  one.refused = outcome
  delete one.credential
  const words = `${type === 'Denied' ? 'was denied' : 'failed'}, reason=${JSON.stringify(reason)}, message=${JSON.stringify(message)}`
  events.record(pod, { type: 'Warning', reason: type, message: `PodCertificateRequest ${nameOf(made)} ${words}` })
}

const nameOf = ({ metadata }: PodCertificateRequest): string => `${metadata?.namespace}/${metadata?.name}`

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw new Error(`while ${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/** Waits for what becomes of a request. @throws Error when it is gone, or cannot be read; the signal's reason */
async function decision(
  made: PodCertificateRequest,
  requests: Informer<PodCertificateRequest>,
  clock: Clock,
  signal: AbortSignal,
): Promise<Outcome> {
  const { name = '', namespace = '', uid } = made.metadata ?? {}
  const isIt = (other: PodCertificateRequest | undefined): boolean => other?.metadata?.uid === uid
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  const look = (request: PodCertificateRequest): void => {
    if (!isIt(request)) return
    try {
      const outcome = outcomeOf(request)
      if (outcome) resolve(outcome)
    } catch (error) {
      reject(new Error(`PodCertificateRequest "${nameOf(made)}": ${(error as Error).message}`))
    }
  }
  const gone = (): void => reject(new Error(`PodCertificateRequest "${nameOf(made)}" appears to have been deleted`))
  const unsubscribe = requests.subscribe({
    added: look,
    updated: look,
    deleted(request) {
      if (isIt(request)) gone()
    },
  })
  // It may have come and gone where the watch did not see it.
  const cancel = callAt(clock, clock.now() + assumedDeletedMs + jitterMs(), () => {
    if (!isIt(requests.get({ name, namespace }))) gone()
  })
  try {
    return await aborted(promise, signal)
  } finally {
    unsubscribe()
    cancel()
  }
}
