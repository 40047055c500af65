// What happens in the runtime, told as pods to look at: events when the runtime has them, else a list each second.
import { type ContainerEventResponse, ContainerEventType, isUnimplemented, type RuntimeService } from '@nodelet/cri-api'
import type { Clock } from './clock.ts'
import type { Logger } from './log.ts'
import { printsOf } from './pod/runtime-read.ts'

export interface RuntimeWatchOptions {
  runtime: RuntimeService
  ownerOf(id: string): string | undefined
  /** Something of this pod ended or went. */
  changed(podUid: string): void
  /** Something happened that may concern any pod. */
  changedAny(): void
  /** Something of this pod was made; it may be nobody's. */
  unknown?(podUid: string): void
  /** An event has come, so long after it happened. */
  heard?(delayMs: number): void
  /** The runtime's events are followed from now on. */
  connected(): void
  /** They broke off, or could not be followed; that happens again and again while the runtime is gone. */
  brokeOff(): void
  clock: Clock
  log: Logger
}

const listMs = 1000
const firstRetryMs = 200
const longestRetryMs = 10_000

/** Follows the runtime until the signal aborts. */
export async function watchRuntime(options: RuntimeWatchOptions, signal: AbortSignal): Promise<void> {
  const { runtime, changedAny, log } = options
  let failures = 0
  while (!signal.aborted) {
    try {
      options.connected()
      for await (const event of runtime.getContainerEvents({}, { signal })) {
        failures = 0
        options.heard?.(Math.max(0, options.clock.now() - Number(event.createdAt / 1_000_000n)))
        tell(options, event)
      }
    } catch (error) {
      if (signal.aborted) return
      if (isUnimplemented(error)) {
        log.info({}, 'the runtime has no container events: it is listed each second')
        return listAgain(options, signal)
      }
      options.brokeOff()
      log.warn({ err: error }, 'container events broke off')
    }
    if (signal.aborted) return
    await pause(options.clock, Math.min(firstRetryMs * 2 ** failures++, longestRetryMs), signal)
    // What happened meanwhile is seen by looking.
    changedAny()
  }
}

/** What this kubelet makes and starts it looks at by itself; ends are news. */
function tell({ ownerOf, changed, changedAny, unknown }: RuntimeWatchOptions, event: ContainerEventResponse): void {
  const { CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } = ContainerEventType
  if (event.containerEventType !== CONTAINER_STOPPED_EVENT && event.containerEventType !== CONTAINER_DELETED_EVENT) {
    const made = event.podSandboxStatus?.metadata?.uid
    if (made) unknown?.(made)
    return
  }
  const uid = event.podSandboxStatus?.metadata?.uid || ownerOf(event.containerId)
  if (uid) changed(uid)
  else changedAny()
}

async function listAgain(options: RuntimeWatchOptions, signal: AbortSignal): Promise<void> {
  const { runtime, changed, clock, log } = options
  let before = new Map<string, string>()
  while (!signal.aborted) {
    try {
      const [{ items }, { containers }] = await Promise.all([
        runtime.listPodSandbox({}, { signal }),
        runtime.listContainers({}, { signal }),
      ])
      const now = printsOf(items, containers)
      for (const uid of new Set([...before.keys(), ...now.keys()])) {
        if (before.get(uid) !== now.get(uid)) changed(uid)
      }
      before = now
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, 'the runtime cannot be listed')
    }
    await pause(clock, listMs, signal)
  }
}

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const cancel = clock.after(ms, resolve)
    signal.addEventListener('abort', () => (cancel(), resolve()), { once: true })
  })
}
