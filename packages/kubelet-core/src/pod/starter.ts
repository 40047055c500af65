// Starting the containers that are due, in order.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { StartAction } from './actions.ts'
import { type ImageVolume, imageVolumesOf } from '../volume/image-volume.ts'
import type { ImageState } from './images.ts'
import { matchCredentials, readPullSecrets } from './pull-secrets.ts'
import { wasStarted } from './resize.ts'
import type { RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import { fieldPathOf, runPostStart, startContainer, StartError } from './start.ts'
import { type PodState, toldRestarts } from './state.ts'
import type { Turnstile } from './turnstile.ts'
import { hookHost } from './kill.ts'

export interface StarterContext {
  services: PodServices
  state: PodState
  pod: Pod
  signal: AbortSignal
  turnstile: Turnstile
  /** Asks for another turn. */
  wake(): void
}

/** How long the API server may take to tell of pull secrets, in milliseconds; those that it has not told of are missing. */
const secretsMs = 5000

/** How long a step that failed for want of something outside waits for its next try. */
const stepRetryMs = 10_000

/** Whether the image of a container is there; when it is not, its pull begins. */
export async function ensureImage(
  { services, state, pod, signal, wake }: StarterContext,
  container: Container,
): Promise<ImageState> {
  return services.images.ensure({
    pod,
    container,
    // Events about the image of a volume are about the pod.
    fieldPath: container.name.startsWith('volume/') ? undefined : fieldPathOf(pod, container.name),
    changed: wake,
    async credentials() {
      const { credentials, missing } = await readPullSecrets(pod, services.objects, AbortSignal.timeout(secretsMs))
      if (missing.length > 0) {
        const message = `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`
        state.tell(pod, { type: 'Warning', reason: 'FailedToRetrieveImagePullSecret', message })
      }
      return [
        ...matchCredentials(container.image ?? '', credentials),
        ...(await services.nodeCredentials(container.image ?? '', pod, signal)).map((auth) => ({ auth })),
      ]
    },
  })
}

/**
 * Starts containers one after the other. The failure of one does not stop the others; one whose image is still being pulled
 * does, so that the order of the spec holds.
 * @returns when to try again
 */
export async function startContainers(
  context: StarterContext,
  starts: readonly StartAction[],
  runtime: RuntimePod,
  volumes: ReadonlyMap<string, string>,
): Promise<number | undefined> {
  let againMs: number | undefined
  for (const start of starts) {
    const images = await ensureImages(context, start.container)
    if (images.some(({ kind }) => kind === 'pulling')) {
      // The others are pulled in the meantime.
      for (const { container } of starts) if (container !== start.container) await ensureImages(context, container)
      break
    }
    againMs = earliest(againMs, await startOne(context, start, images as ImageOutcome[], runtime, volumes))
  }
  return againMs
}

/** That of the container first, then those of its volumes that are images. */
async function ensureImages(context: StarterContext, container: Container): Promise<ImageState[]> {
  const ofVolumes = imageVolumesOf(context.pod, container).map(asContainer)
  return Promise.all([container, ...ofVolumes].map(async (one) => ensureImage(context, one)))
}

/** A volume's image is pulled as a container's is, under a name that no container has. */
const asContainer = ({ name, reference, pullPolicy }: ImageVolume): Container => ({
  name: `volume/${name}`,
  image: reference,
  ...(pullPolicy && { imagePullPolicy: pullPolicy }),
})

type ImageOutcome = Exclude<ImageState, { kind: 'pulling' }>

async function startOne(
  context: StarterContext,
  start: StartAction,
  images: readonly ImageOutcome[],
  runtime: RuntimePod,
  volumes: ReadonlyMap<string, string>,
): Promise<number | undefined> {
  const { services, state, pod, signal, turnstile } = context
  const { name } = start.container
  const [sandbox] = runtime.sandboxes
  const failed = images.find((one) => one.kind === 'failed')
  if (failed) {
    state.waiting.set(name, { reason: failed.reason, message: failed.message })
    return failed.retryMs ?? services.clock.now() + stepRetryMs
  }
  const [image, ...ofVolumes] = images.filter((one) => one.kind === 'present')
  if (!sandbox || !state.sandbox || !image) return undefined
  const mounted = imageVolumesOf(pod, start.container)
  await turnstile.enter({ resume: true })
  signal.throwIfAborted()
  try {
    if (start.backOff) await state.rememberBackOff(start.container, start.backOff)
    const told = toldRestarts(state.told(), name)
    const volumeImages = new Map(
      mounted.flatMap((volume, index) => {
        const spec = ofVolumes[index]?.spec
        return spec ? [[volume.name, spec] as const] : []
      }),
    )
    const facts = { sandbox, sandboxConfig: state.sandbox, runtime, image, volumes, volumeImages, told }
    const id = await startContainer(services, pod, start, facts)
    services.images.used(state.uid, name)
    for (const volume of mounted) services.images.used(state.uid, asContainer(volume).name)
    await wasStarted(state, start.container)
    state.waiting.delete(name)
    if (start.container.lifecycle?.postStart)
      await withHook(context, start.container, id, hookHost(services, pod, runtime))
    return undefined
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    state.waiting.set(name, { reason: error.reason, message: error.message })
    if (error.reason !== 'PostStartHookError') {
      const fieldPath = fieldPathOf(pod, name)
      state.tell(pod, { type: 'Warning', reason: 'Failed', message: `Error: ${error.message}`, fieldPath })
    }
    return services.clock.now() + stepRetryMs
  }
}

/** Until the hook has returned the container does not count as started. */
async function withHook(
  { services, state, pod, signal, turnstile }: StarterContext,
  container: Container,
  id: string,
  podIP: string,
): Promise<void> {
  state.hooks.add(id)
  turnstile.leave()
  try {
    state.publish(pod, await services.reader.read(state.uid))
    await runPostStart(services, pod, container, id, podIP, signal)
  } finally {
    state.hooks.delete(id)
  }
}

export const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || (b !== undefined && b < a) ? b : a
