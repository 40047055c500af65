// Ending containers: events, preStop hooks, order, grace.
import type { Container, Lifecycle, LifecycleHandler, Pod } from 'kubernetes-types/core/v1.d.ts'
import { HookTimeout, runHook } from '../probe/hook.ts'
import { tellOfFallback } from './hook-fallback.ts'
import { isSidecar } from './actions.ts'
import { podGraceAnnotation, preStopAnnotation } from './labels.ts'
import type { RuntimeContainer, RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import { fieldPathOf } from './start.ts'

/** The least that SIGTERM is given, in seconds. */
const minGraceSeconds = 2
const defaultGraceSeconds = 30

export interface KillOptions {
  graceSeconds: number
  podIP: string
  /** For the event; default `Stopping container NAME`. */
  message?: string
  /** Sidecars wait for this after their hook. */
  turn?: Promise<unknown>
  /** Ends the wait: somebody asks anew, with less grace. */
  signal?: AbortSignal | undefined
  /** Containers whose preStop hook was begun: it does not run again. */
  hooked?: Set<string>
}

type KillServices = Pick<PodServices, 'node' | 'runtime' | 'events' | 'exec' | 'metrics' | 'clock' | 'prober' | 'log'>

/** What a container that is to end need not show any more; whether it is ready matters to the end. */
const vitalKinds = ['startup', 'liveness'] as const

/** Ends one container; returns when the runtime says that it has ended. */
export async function killContainer(
  services: KillServices,
  pod: Pod,
  runtime: RuntimeContainer,
  { graceSeconds, podIP, message, turn, signal, hooked = new Set() }: KillOptions,
): Promise<void> {
  const { events, clock } = services
  services.prober.remove(runtime.id, vitalKinds)
  const container = containerOf(pod, runtime.name)
  const fieldPath = fieldPathOf(pod, runtime.name)
  events.record(pod, {
    type: 'Normal',
    reason: 'Killing',
    message: message ?? `Stopping container ${runtime.name}`,
    fieldPath,
  })
  const beganMs = clock.now()
  const left = (): number => graceSeconds - (clock.now() - beganMs) / 1000
  const hook = preStopOf(container, runtime)
  if (hook && graceSeconds > 0 && runtime.phase === 'running' && !hooked.has(runtime.id)) {
    hooked.add(runtime.id)
    const own = container ?? { name: runtime.name }
    const target = { pod, container: own, containerId: runtime.id, podIP, startedAt: runtime.startedMs }
    try {
      await runHook(hook, target, {
        exec: services.exec,
        ...(signal && { signal }),
        timeoutMs: graceSeconds * 1000,
        fellBack: tellOfFallback(services, pod),
      })
    } catch (error) {
      signal?.throwIfAborted()
      services.log.warn({ err: error, pod: pod.metadata?.name, container: runtime.name }, 'preStop hook failed')
      // One that takes too long has not failed: the container goes on to end without it.
      if (error instanceof HookTimeout) {
        if (hook.sleep) services.metrics.sleepsCutShort.inc()
      } else
        events.record(pod, { type: 'Warning', reason: 'FailedPreStopHook', message: 'PreStopHook failed', fieldPath })
    }
  }
  if (turn && left() > 0) await Promise.race([turn, elapsed(left() * 1000)])
  signal?.throwIfAborted()
  const timeout = BigInt(Math.max(minGraceSeconds, Math.ceil(left())))
  try {
    await services.runtime.stopContainer({ containerId: runtime.id, timeout }, signal && { signal })
  } finally {
    // One that could not be stopped is probed anew, all kinds.
    services.prober.remove(runtime.id)
  }
}

/** Passes after so many milliseconds; does not hold the process. */
async function elapsed(ms: number): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, ms).unref())
}

/** Ends all containers at the same time, sidecars after the others in reverse order; then stops every sandbox. */
export async function killPod(
  services: KillServices,
  pod: Pod,
  runtime: RuntimePod,
  { graceSeconds, signal, hooked }: Pick<KillOptions, 'graceSeconds' | 'signal' | 'hooked'>,
): Promise<void> {
  const podIP = hookHost(services, pod, runtime)
  const options = { graceSeconds, podIP, signal, ...(hooked && { hooked }) }
  const alive = runtime.containers.filter(({ phase }) => phase === 'running' || phase === 'unknown')
  const sidecars = (pod.spec?.initContainers ?? []).filter(isSidecar).map(({ name }) => name)
  const rank = ({ name }: RuntimeContainer): number => sidecars.indexOf(name)
  const kills: Promise<void>[] = []
  let turn: Promise<unknown> = Promise.resolve()
  const regular = alive.filter((container) => rank(container) < 0)
  for (const container of regular) kills.push(killContainer(services, pod, container, options))
  turn = Promise.allSettled(kills)
  for (const container of alive.filter((one) => rank(one) >= 0).toSorted((a, b) => rank(b) - rank(a))) {
    const kill = killContainer(services, pod, container, { ...options, turn })
    kills.push(kill)
    turn = Promise.allSettled([turn, kill])
  }
  // What one kill comes to does not cut the hooks of others short.
  const results = await Promise.allSettled(kills)
  signal?.throwIfAborted()
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
  await Promise.all(runtime.sandboxes.map(async ({ id }) => services.runtime.stopPodSandbox({ podSandboxId: id })))
}

/** Where hooks of a pod's containers go that name no host. */
export const hookHost = ({ node }: Pick<PodServices, 'node'>, { spec }: Pod, { sandboxes }: RuntimePod): string =>
  (spec?.hostNetwork ? node.hostIPs : sandboxes[0]?.ips)?.[0] ?? ''

/** From the spec, or as it was written on the container when its pod is gone from the configuration. */
function preStopOf(container: Container | undefined, runtime: RuntimeContainer): LifecycleHandler | undefined {
  const lifecycle: Lifecycle | undefined = container?.lifecycle
  if (container) return lifecycle?.preStop
  const written = runtime.annotations[preStopAnnotation]
  return written ? (JSON.parse(written) as LifecycleHandler) : undefined
}

export function containerOf(pod: Pod, name: string): Container | undefined {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].find(
    (container) => container.name === name,
  )
}

/** The grace of a pod that nobody shortened, in seconds. */
export function podGrace(pod: Pod, runtime?: RuntimePod): number {
  const written = runtime?.containers[0]?.annotations[podGraceAnnotation]
  const spec = pod.spec?.terminationGracePeriodSeconds ?? (written ? Number(written) : defaultGraceSeconds)
  return pod.metadata?.deletionGracePeriodSeconds ?? spec
}
