// What a pod needs before its containers: cgroup, volumes, claims, sandbox.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type PodResources, podResources } from '../resource/pod-resources.ts'
import { failureEvents } from '../volume/types.ts'
import type { RuntimePod } from './runtime-pod.ts'
import { createSandbox, prepareSandbox } from './sandbox.ts'
import type { PodServices } from './services.ts'
import type { PodState } from './state.ts'
import { markTold } from './told.ts'
import type { Turnstile } from './turnstile.ts'

/** Makes the pod's cgroup once. @throws Error after the event `FailedCreatePodContainer` */
export async function ensureCgroup(services: PodServices, state: PodState, pod: Pod): Promise<string> {
  state.cgroup ??= services.cgroups?.create(pod, limitsOf(services, pod)) ?? Promise.resolve('')
  try {
    return await state.cgroup
  } catch (error) {
    state.cgroup = undefined
    const message = `unable to ensure pod container exists: ${(error as Error).message}`
    state.tell(pod, { type: 'Warning', reason: 'FailedCreatePodContainer', message })
    throw markTold(error)
  }
}

/** A pod with CPUs of its own is not held back on them; undefined: the limits follow from its spec. */
function limitsOf({ cpus, node }: PodServices, pod: Pod): PodResources | undefined {
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]
  const hasOwn = containers.some(({ name }) => cpus.exclusiveOf(pod.metadata?.uid ?? '', name).length > 0)
  return hasOwn ? podResources(pod, { ...node.cfsQuota, enforced: false }, node.pageSizes) : undefined
}

/** Mounts the pod's volumes once. @throws Error after the event `FailedMount` or `FailedMapVolume` */
export async function ensureVolumes(
  services: PodServices,
  state: PodState,
  pod: Pod,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  if (!state.volumes) services.objects.outdate?.(pod)
  state.volumes ??= services.volumes.mount(pod, signal)
  try {
    return await state.volumes
  } catch (error) {
    state.volumes = undefined
    signal.throwIfAborted()
    for (const event of failureEvents(error)) state.tell(pod, event)
    throw markTold(error)
  }
}

/** @throws Error after the event `FailedPrepareDynamicResources` */
export async function prepareClaims(
  services: PodServices,
  state: PodState,
  pod: Pod,
  signal: AbortSignal,
): Promise<void> {
  try {
    await services.claims.prepare(pod, signal)
  } catch (error) {
    signal.throwIfAborted()
    const message = `Failed to prepare dynamic resources: ${(error as Error).message}`
    state.tell(pod, { type: 'Warning', reason: 'FailedPrepareDynamicResources', message })
    throw markTold(error)
  }
}

/** Makes a sandbox and reads what came of it. The place that this took is kept for the containers that follow. */
export async function makeSandbox(
  services: PodServices,
  state: PodState,
  pod: Pod,
  options: { attempt: number; cgroupParent: Promise<string>; turnstile: Turnstile },
): Promise<RuntimePod> {
  const config = await prepareSandbox(services, pod, options.attempt, await options.cgroupParent)
  await options.turnstile.enter({ resume: false })
  await createSandbox(services, pod, config)
  state.sandbox = config
  return services.reader.read(state.uid)
}
