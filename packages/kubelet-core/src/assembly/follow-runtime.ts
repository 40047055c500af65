// The runtime of a kubelet, followed: what it tells wakes pods, and how it goes is the node's condition.
import type { RuntimeService } from '@nodelet/cri-api'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import { type Period, startPeriod } from '../node/period.ts'
import type { RuntimeHealth } from '../node/runtime-health.ts'
import type { PodManager } from '../pod/manager.ts'
import type { RuntimeReader } from '../pod/runtime-read.ts'
import { watchRuntime } from '../runtime-watch.ts'

export interface FollowRuntimeOptions {
  runtime: RuntimeService
  reader: Pick<RuntimeReader, 'ownerOf' | 'outdate'>
  manager: Pick<PodManager, 'wake' | 'wakeAll' | 'has'>
  /** Something was made in the runtime for a pod that is not known here. */
  stranger(): void
  metrics: Pick<KubeletMetrics, 'eventStreams' | 'eventStreamErrors' | 'eventDelaySeconds'>
  clock: Clock
  log: Logger
}

/** Until the signal aborts. */
export async function followRuntime(options: FollowRuntimeOptions, signal: AbortSignal): Promise<void> {
  const { runtime, reader, manager, stranger, metrics, clock, log } = options
  await watchRuntime(
    {
      runtime,
      ownerOf: reader.ownerOf,
      changed(uid) {
        reader.outdate(uid)
        manager.wake(uid)
      },
      changedAny() {
        reader.outdate()
        manager.wakeAll()
      },
      connected: () => metrics.eventStreams.inc(),
      brokeOff: () => metrics.eventStreamErrors.inc(),
      heard: (delayMs) => metrics.eventDelaySeconds.observe(delayMs / 1000),
      unknown: (uid) => {
        if (!manager.has(uid)) stranger()
      },
      clock,
      log,
    },
    signal,
  )
}

export interface WatchHealthOptions {
  health: Pick<RuntimeHealth, 'problems' | 'check' | 'networkProblem'>
  manager: Pick<PodManager, 'wakeAll'>
  /** The conditions of the node are others now. */
  changed(): void
  clock: Clock
  log: Logger
}

const healthMs = 5000

/** Looks every five seconds; pods that waited for their network go on when it is there. */
export function watchRuntimeHealth({ health, manager, changed, clock, log }: WatchHealthOptions): Period {
  let hadProblem = health.networkProblem() !== undefined
  return startPeriod({
    ms: healthMs,
    clock,
    onError: (error) => log.warn({ err: error }, 'runtime health'),
    async run(signal) {
      const before = health.problems().join()
      await health.check(signal)
      if (before !== health.problems().join()) changed()
      const hasProblem = health.networkProblem() !== undefined
      if (hadProblem && !hasProblem) manager.wakeAll()
      hadProblem = hasProblem
    },
  })
}
