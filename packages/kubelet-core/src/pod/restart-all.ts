// All containers of a pod restarted in place: its sandbox, address and volumes stay.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { removeContainerLog } from '../container-log/remove.ts'
import type { PodActions } from './actions.ts'
import { containerOf, hookHost, killContainer } from './kill.ts'
import { newestOf, type RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import type { PodState } from './state.ts'

/**
 * Kills what runs, and removes all but ephemeral containers; the one that asked for it goes last, so that it asks again when this
 * is cut short.
 */
export async function restartAll(
  services: PodServices,
  state: PodState,
  pod: Pod,
  runtime: RuntimePod,
  { container: asking, runtime: asked, backOff }: NonNullable<PodActions['restartAll']>,
): Promise<RuntimePod> {
  state.restartingAll = true
  state.publish(pod, runtime)
  await state.rememberBackOff(asking, backOff)
  const podIP = hookHost(services, pod, runtime)
  const own = runtime.containers.filter(({ name }) => containerOf(pod, name))
  const live = own.filter(({ phase }) => phase === 'running' || phase === 'unknown')
  await Promise.all(live.map(async (one) => killContainer(services, pod, one, { graceSeconds: 0, podIP })))
  for (const { id } of own.filter((one) => one.id !== asked.id)) {
    await services.runtime.removeContainer({ containerId: id })
  }
  await services.runtime.removeContainer({ containerId: asked.id })
  // The newest log of each stays, as of any container that ended.
  const newest = new Set<string>()
  for (const { name, logPath } of own) {
    if (newest.has(name)) await removeContainerLog(logPath)
    newest.add(name)
  }
  const after = await services.reader.read(state.uid)
  state.publish(pod, after)
  return after
}

/** Whether a container has not been made again yet. */
export function isMissingSome({ spec }: Pod, runtime: RuntimePod): boolean {
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].some(({ name }) => !newestOf(runtime, name))
}
