// Images of containers: asked for by policy, pulled once for all who wait, tried again with a back-off.
import { type Image, type ImageService, ImageSpec } from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { EventRecorder } from '../events.ts'
import { defaultPullPolicy, parseImageReference, withTag } from './image-reference.ts'
import type { Credential } from './pull-secrets.ts'
import type { ImageGuard } from '../pull-records/guard.ts'
import type { PullSecret } from '../pull-records/records.ts'
import { createSlots } from './slots.ts'
import type { Span } from './start-times.ts'
import type { ImageUser } from './security-context.ts'

export type ImageState =
  | { kind: 'present'; spec: ImageSpec; user: ImageUser }
  /** Whoever asked is called back when it has ended, well or not. */
  | { kind: 'pulling' }
  | { kind: 'failed'; reason: string; message: string; retryMs?: number }

/** What an image may be pulled with. */
export type PullCandidate = Pick<Credential, 'auth' | 'secret'>

export interface PullWish {
  pod: Pod
  container: Container
  /** For events, for instance `spec.containers{web}`; undefined: they are about the pod as a whole. */
  fieldPath: string | undefined
  /** Asked only when something must be pulled, or shown. Tried in order. */
  credentials(): Promise<PullCandidate[]>
  /** Called when a pull that this wish waits for has ended. */
  changed(): void
}

export interface Images {
  ensure(wish: PullWish): Promise<ImageState>
  /** The container was started: the next start asks anew. */
  used(podUid: string, container: string): void
  forget(podUid: string): void
  /** Ends the pulls under way, and waits until nothing of them is written any more. */
  close(): Promise<void>
}

interface Failure {
  delayMs: number
  untilMs: number
  reason: string
  message: string
  /** So long it is told as a failure, then as waiting for the next try. */
  freshUntilMs: number
}

const firstDelayMs = 10_000
const longestDelayMs = 300_000
/** How long a failed pull is shown as such, before it is shown as waiting for the next. */
const showMs = 2000

export interface ImagesOptions {
  service: ImageService
  events: EventRecorder
  /** Who may use what was pulled with credentials; default: everybody. */
  guard?: ImageGuard | undefined
  /** How many pulls at a time; default: any. */
  parallel?: number
  /** A pod has had an image pulled, of so many bytes; waiting for its turn counts. */
  pulled?: (podUid: string, bytes: bigint, span: Span) => void
  clock: Clock
}

export function createImages({ service, events, guard, parallel = Infinity, pulled, clock }: ImagesOptions): Images {
  const slots = createSlots(parallel)
  const closing = new AbortController()
  const { signal } = closing
  const running = new Set<Promise<void>>()
  const pulls = new Map<string, Promise<Pulled>>()
  /** By pod and container: pulled for a start that has not been yet, or being pulled. */
  const wishes = new Map<string, 'pulling' | ImageState>()
  /** By pod and image. */
  const failures = new Map<string, Failure>()

  const find = async (image: string): Promise<Image | undefined> =>
    (await service.imageStatus({ image: ImageSpec.create({ image: withTag(image) }), verbose: false })).image

  /** One pull per image and credentials at a time, whoever asks. */
  const pull = async (image: string, candidates: PullCandidate[]): Promise<Pulled> => {
    const key = `${image} ${JSON.stringify(candidates)}`
    const underWay = pulls.get(key)
    if (underWay) return underWay
    const pullInTurn = async (): Promise<Pulled> => {
      const release = await slots.acquire({ signal })
      const beganMs = clock.now()
      try {
        const pullNow = async () => pullWith(service, withTag(image), candidates, signal)
        const ref = guard ? await guard.pulling(image, pullNow) : (await pullNow()).imageRef
        return { ref, tookMs: clock.now() - beganMs }
      } finally {
        release()
      }
    }
    const fresh = pullInTurn().finally(() => pulls.delete(key))
    pulls.set(key, fresh)
    return fresh
  }

  const mayUse = async ({ container: { image = '' }, credentials }: PullWish, { id }: Image) =>
    guard?.mayUse(image, id, async () => (await credentials()).flatMap(({ secret }) => secret ?? [])) ?? 'open'

  const run = async (wish: PullWish, key: string, failureKey: string): Promise<void> => {
    const { pod, container, fieldPath } = wish
    const image = container.image ?? ''
    const beganMs = clock.now()
    events.record(pod, { type: 'Normal', reason: 'Pulling', message: `Pulling image "${image}"`, fieldPath })
    try {
      const { ref, tookMs } = await pull(image, await wish.credentials())
      const found = await find(ref)
      const endedMs = clock.now()
      const [took, waited] = [goDuration(tookMs), goDuration(endedMs - beganMs)]
      pulled?.(pod.metadata?.uid ?? '', found?.size ?? 0n, { beganMs, endedMs })
      const message = `Successfully pulled image "${image}" in ${took} (${waited} including waiting). Image size: ${found?.size ?? 0n} bytes.`
      events.record(pod, { type: 'Normal', reason: 'Pulled', message, fieldPath })
      failures.delete(failureKey)
      if (wishes.has(key)) wishes.set(key, presentOf(image, ref, found))
    } catch (error) {
      // The next kubelet begins it anew.
      if (signal.aborted) return
      const text = error instanceof Error ? error.message : String(error)
      const message = `Failed to pull image "${image}": ${text}`
      const reason = reasonOf(text)
      events.record(pod, { type: 'Warning', reason: 'Failed', message, fieldPath })
      events.record(pod, { type: 'Warning', reason: 'Failed', message: `Error: ${reason}`, fieldPath })
      const before = failures.get(failureKey)
      const delayMs = before ? Math.min(before.delayMs * 2, longestDelayMs) : firstDelayMs
      if (wishes.delete(key)) {
        failures.set(failureKey, {
          delayMs,
          untilMs: clock.now() + delayMs,
          reason,
          message: text,
          freshUntilMs: clock.now() + showMs,
        })
      }
    }
    wish.changed()
  }

  /** What the last failure says; undefined when it is time to try again. */
  const waiting = (wish: PullWish, failure: Failure): ImageState | undefined => {
    const { pod, container, fieldPath } = wish
    const image = container.image ?? ''
    const { untilMs, message } = failure
    if (clock.now() < failure.freshUntilMs) {
      return { kind: 'failed', reason: failure.reason, message, retryMs: failure.freshUntilMs }
    }
    if (clock.now() >= untilMs) return undefined
    const text = `Back-off pulling image "${image}"`
    events.record(pod, { type: 'Normal', reason: 'BackOff', message: text, fieldPath })
    events.record(pod, { type: 'Warning', reason: 'Failed', message: 'Error: ImagePullBackOff', fieldPath })
    return { kind: 'failed', reason: 'ImagePullBackOff', message: `${text}: ${message}`, retryMs: untilMs }
  }

  return {
    async ensure(wish) {
      const { pod, container, fieldPath } = wish
      const image = container.image ?? ''
      const uid = pod.metadata?.uid ?? ''
      const key = `${uid}/${container.name}`
      const policy = policyFor(container)
      if (typeof policy === 'object') {
        const message = `Failed to apply default image tag "${image}": ${policy.problem}`
        events.record(pod, { type: 'Warning', reason: 'InspectFailed', message, fieldPath })
        return { kind: 'failed', reason: 'InvalidImageName', message }
      }
      let isClosed = false
      const wished = wishes.get(key)
      if (wished) return wished === 'pulling' ? { kind: 'pulling' } : wished
      if (policy !== 'Always') {
        const found = await find(image)
        const use = found && (await mayUse(wish, found))
        if (found && use !== 'closed') {
          const proven = use === 'proven' ? ' and can be accessed by the pod' : ''
          const message = `Container image "${image}" already present on machine${proven}`
          events.record(pod, { type: 'Normal', reason: 'Pulled', message, fieldPath })
          const present = presentOf(image, found.id, found)
          wishes.set(key, present)
          return present
        }
        isClosed = found !== undefined
      }
      if (policy === 'Never') {
        const message = isClosed
          ? `Container image "${image}" is present with pull policy of Never, but the pod has none of the credentials that it was pulled with`
          : `Container image "${image}" is not present with pull policy of Never`
        events.record(pod, { type: 'Warning', reason: 'ErrImageNeverPull', message, fieldPath })
        return { kind: 'failed', reason: 'ErrImageNeverPull', message }
      }
      const failureKey = `${uid}/${image}`
      const failure = failures.get(failureKey)
      const verdict = failure && waiting(wish, failure)
      if (verdict) return verdict
      wishes.set(key, 'pulling')
      const work = run(wish, key, failureKey).finally(() => running.delete(work))
      running.add(work)
      return { kind: 'pulling' }
    },
    used: (podUid, container) => void wishes.delete(`${podUid}/${container}`),
    forget(podUid) {
      for (const map of [wishes, failures]) {
        for (const key of map.keys()) if (key.startsWith(`${podUid}/`)) map.delete(key)
      }
    },
    async close() {
      closing.abort(new Error('the kubelet stops'))
      await Promise.all(running)
    },
  }
}

interface Pulled {
  ref: string
  /** Without the wait for its turn. */
  tookMs: number
}

/** What runtimes say that the kubelet tells apart. */
const pullReasons = ['RegistryUnavailable', 'SignatureValidationFailed']

const reasonOf = (message: string): string => pullReasons.find((reason) => message.includes(reason)) ?? 'ErrImagePull'

function policyFor({ image = '', imagePullPolicy }: Container): string | { problem: string } {
  try {
    parseImageReference(image)
    return imagePullPolicy ?? defaultPullPolicy(image)
  } catch (error) {
    return { problem: (error as Error).message }
  }
}

function presentOf(asked: string, ref: string, image: Image | undefined): ImageState {
  const username = image?.username
  const uid = image?.uid
  const user: ImageUser = username ? { username } : uid ? { uid: Number(uid.value) } : {}
  return { kind: 'present', spec: ImageSpec.create({ image: ref, userSpecifiedImage: asked }), user }
}

/** Each credential in turn, without any when there is none. All failures are told. */
async function pullWith(
  service: ImageService,
  image: string,
  candidates: readonly PullCandidate[],
  signal: AbortSignal,
): Promise<{ imageRef: string; secret: PullSecret | undefined }> {
  const failures: Error[] = []
  const all: readonly Partial<PullCandidate>[] = candidates.length > 0 ? candidates : [{}]
  for (const { auth, secret } of all) {
    try {
      const { imageRef } = await service.pullImage({ image: ImageSpec.create({ image }), auth }, { signal })
      return { imageRef, secret }
    } catch (error) {
      signal.throwIfAborted()
      failures.push(error as Error)
    }
  }
  if (failures.length === 1 && failures[0]) throw failures[0]
  throw new AggregateError(failures, `[${failures.map(({ message }) => message).join(', ')}]`)
}

/** As Go prints it: `950ms`, `1.2s`, `1m5s`. */
function goDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`
  const minutes = Math.floor(ms / 60_000)
  const seconds = `${((ms % 60_000) / 1000).toFixed(3).replace(/\.?0+$/, '')}s`
  return minutes > 0 ? `${minutes}m${seconds}` : seconds
}
