// Starting the containers that are due, in order.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { StartAction } from './actions.ts'
import type { ImageState } from './images.ts'
import { matchCredentials, readPullSecrets } from './pull-secrets.ts'
import { wasStarted } from './resize.ts'
import type { RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import { fieldPathOf, runPostStart, startContainer, StartError } from './start.ts'
import { type PodState, toldRestarts } from './state.ts'
import type { Turnstile } from './turnstile.ts'

export interface StarterContext {
  services: PodServices
  state: PodState
  pod: Pod
  signal: AbortSignal
  turnstile: Turnstile
  /** Asks for another turn. */
  wake(): void
}

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
    fieldPath: fieldPathOf(pod, container.name),
    changed: wake,
    async credentials() {
      const { credentials, missing } = await readPullSecrets(pod, services.objects)
      if (missing.length > 0) {
        const message = `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`
        state.tell(pod, { type: 'Warning', reason: 'FailedToRetrieveImagePullSecret', message })
      }
      return [
        ...matchCredentials(container.image ?? '', credentials),
        ...(await services.nodeCredentials(container.image ?? '', pod, signal)),
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
    const image = await ensureImage(context, start.container)
    if (image.kind === 'pulling') {
      // The others are pulled in the meantime.
      for (const { container } of starts) if (container !== start.container) await ensureImage(context, container)
      break
    }
    againMs = earliest(againMs, await startOne(context, start, image, runtime, volumes))
  }
  return againMs
}

async function startOne(
  context: StarterContext,
  start: StartAction,
  image: Exclude<ImageState, { kind: 'pulling' }>,
  runtime: RuntimePod,
  volumes: ReadonlyMap<string, string>,
): Promise<number | undefined> {
  const { services, state, pod, signal, turnstile } = context
  const { name } = start.container
  const [sandbox] = runtime.sandboxes
  if (image.kind === 'failed') {
    state.waiting.set(name, { reason: image.reason, message: image.message })
    return image.retryMs ?? services.clock.now() + stepRetryMs
  }
  if (!sandbox || !state.sandbox) return undefined
  await turnstile.enter({ resume: true })
  signal.throwIfAborted()
  try {
    if (start.backOff) await state.rememberBackOff(name, start.backOff)
    const told = toldRestarts(state.told(), name)
    const facts = { sandbox, sandboxConfig: state.sandbox, runtime, image, volumes, told }
    const id = await startContainer(services, pod, start, facts)
    services.images.used(state.uid, name)
    await wasStarted(state, start.container)
    state.waiting.delete(name)
    if (start.container.lifecycle?.postStart) await withHook(context, start.container, id, sandbox.ips[0] ?? '')
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
