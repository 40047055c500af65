// Keeps the node alive when it runs short: frees what nobody uses, then ends pods, one a round.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Pressure } from '../admission/checks.ts'
import { isCritical } from '../admission/critical.ts'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { startPeriod } from '../node/period.ts'
import type { PodFailure } from '../pod/worker.ts'
import type { MemoryAlarm } from './memory-alarm.ts'
import { exceededLimit, hasLocalLimits } from './local-limits.ts'
import { blankMemory, isMet, nextRound } from './met.ts'
import { evictionText } from './message.ts'
import { rankPods } from './ranking.ts'
import { resourceOf } from './signals.ts'
import { type Threshold, thresholdsOf } from './thresholds.ts'
import { type NodeUsage, type Observations, observationsOf, type PodUsage } from './usage.ts'

export interface EvictionOptions {
  configuration: KubeletConfiguration
  nodeUsage(signal: AbortSignal): Promise<NodeUsage>
  /** By UID. Asked for only when it is needed. */
  podUsage(signal: AbortSignal): Promise<ReadonlyMap<string, PodUsage>>
  /** Pods that run or are to run. */
  pods(): readonly Pod[]
  /** Ends a pod; fulfilled when nothing of it is left. */
  evict(pod: Pod, failure: PodFailure, graceSeconds: number): Promise<void>
  /** Frees disk that nobody uses: containers that have ended, then images. */
  reclaimDisk(signal: AbortSignal): Promise<void>
  /** Rings when memory runs short between two looks. */
  alarm?: MemoryAlarm | undefined
  /** The conditions of the node are others now. */
  pressureChanged(): void
  /** Told of each pod that is evicted for a threshold, and when it was measured that this is met, in milliseconds since the epoch. */
  evicted?(threshold: Threshold, measuredMs: number): void
  events: Pick<EventRecorder, 'record' | 'recordNode'>
  clock: Clock
  log: Logger
}

export interface EvictionManager {
  start(): void
  /** Conditions of the node that are in force. */
  pressure(): readonly Pressure[]
  close(): Promise<void>
}

/** What a round has seen of the node. */
interface Seen {
  observations: Observations
  /** Images have a file system of their own. */
  split: boolean
  measuredMs: number
}

const periodMs = 10_000
/** The grace of a pod that must go at once, in seconds. */
const hardGraceSeconds = 1

export function createEvictionManager(options: EvictionOptions): EvictionManager {
  const { configuration, events, clock, log } = options
  const thresholds = thresholdsOf(configuration)
  const transitionMs = parseDuration(configuration.evictionPressureTransitionPeriod)
  let memory = blankMemory
  let pressure: readonly Pressure[] = []

  /** @returns whether something was done: then it is worth to look again */
  const round = async (signal: AbortSignal): Promise<boolean> => {
    const usage = await options.nodeUsage(signal)
    const observations = observationsOf(usage)
    const next = nextRound(memory, thresholds, observations, clock.now(), transitionMs)
    memory = next.memory
    if (pressure.join() !== next.pressure.join()) {
      pressure = next.pressure
      options.pressureChanged()
    }
    const split = usage.imagefs !== undefined
    if (configuration.localStorageCapacityIsolation && (await evictOverLimits(split, signal))) return true
    const [threshold] = next.due
    return threshold ? relieve(threshold, { observations, split, measuredMs: usage.timeMs }, signal) : false
  }

  const evictOverLimits = async (split: boolean, signal: AbortSignal): Promise<boolean> => {
    const limited = options.pods().filter((pod) => hasLocalLimits(pod) && !isCritical(pod))
    if (limited.length === 0) return false
    const usages = await options.podUsage(signal)
    const over = limited.flatMap((pod) => {
      const usage = usages.get(pod.metadata?.uid ?? '')
      const message = usage && exceededLimit(pod, usage, split)
      return message ? [{ pod, message }] : []
    })
    await Promise.all(
      over.map(async ({ pod, message }) => {
        events.record(pod, { type: 'Warning', reason: 'Evicted', message })
        await end(pod, { reason: 'Evicted', message }, hardGraceSeconds)
      }),
    )
    return over.length > 0
  }

  const relieve = async (threshold: Threshold, seenThen: Seen, signal: AbortSignal): Promise<boolean> => {
    const { observations, split } = seenThen
    const resource = resourceOf(threshold.signal)
    const seen = observations.get(threshold.signal)
    log.warn(
      { signal: threshold.signal, threshold: threshold.text, available: Number(seen?.available ?? 0n) },
      'the node runs short',
    )
    const message = `Attempting to reclaim ${resource}`
    events.recordNode({ type: 'Warning', reason: 'EvictionThresholdMet', message })
    const onDisk = resource === 'ephemeral-storage' || resource === 'inodes'
    // With a file system of their own, images free nothing on the node's.
    if (onDisk && !(split && threshold.signal.startsWith('nodefs'))) {
      await options.reclaimDisk(signal)
      if (!isMet(threshold, observationsOf(await options.nodeUsage(signal)), true)) return false
    }
    return evictOne(threshold, seenThen, signal)
  }

  const evictOne = async (
    threshold: Threshold,
    { observations, split, measuredMs }: Seen,
    signal: AbortSignal,
  ): Promise<boolean> => {
    const usages = await options.podUsage(signal)
    const usageOf = (pod: Pod): PodUsage | undefined => usages.get(pod.metadata?.uid ?? '')
    const [victim] = rankPods(
      options.pods().filter((pod) => !isCritical(pod)),
      { signal: threshold.signal, split, usageOf },
    )
    if (!victim) {
      log.error({ signal: threshold.signal }, 'the node runs short, and no pod is left to evict')
      return false
    }
    const { message, annotations } = evictionText(victim, threshold, observations, usageOf(victim))
    events.record(victim, { type: 'Warning', reason: 'Evicted', message, annotations })
    options.evicted?.(threshold, measuredMs)
    await end(victim, { reason: 'Evicted', message, disruption: message }, graceOf(victim, threshold))
    return true
  }

  /** One that will not end is told of already, and must not keep the next from its turn. */
  const end = async (pod: Pod, failure: PodFailure, graceSeconds: number): Promise<void> => {
    try {
      await options.evict(pod, failure, graceSeconds)
    } catch (error) {
      log.warn({ err: error, pod: pod.metadata?.name, namespace: pod.metadata?.namespace }, 'evicting a pod')
    }
  }

  const graceOf = ({ spec }: Pod, { graceMs }: Threshold): number => {
    if (graceMs === undefined) return hardGraceSeconds
    return Math.min(configuration.evictionMaxPodGracePeriod, spec?.terminationGracePeriodSeconds ?? Infinity)
  }

  const period = startPeriod({
    ms: periodMs,
    jitter: 0,
    clock,
    onError: (error) => log.warn({ err: error }, 'looking whether the node runs short'),
    async run(signal) {
      while (await round(signal)) signal.throwIfAborted()
      await options.alarm?.arm(thresholds, period.now)
    },
  })

  return {
    start: period.now,
    pressure: () => pressure,
    async close() {
      await period.close()
      options.alarm?.[Symbol.dispose]()
    },
  }
}
