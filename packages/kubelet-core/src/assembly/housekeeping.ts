// Looks, again and again, at what is there of pods, so that nothing stays that nobody wants and nothing is missed.
import type { Clock } from '../clock.ts'
import { removeStaleLogs } from '../container-log/remove.ts'
import type { ClaimManager } from '../dra/manager.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import { type Period, startPeriod } from '../node/period.ts'
import type { PodManager } from '../pod/manager.ts'
import { removeGonePods } from '../pod/prune.ts'
import type { PodServices } from '../pod/services.ts'
import type { PodSets } from './pod-sets.ts'

export interface HousekeepingOptions {
  services: Pick<PodServices, 'reader' | 'cgroups' | 'userNamespaces' | 'volumes' | 'node'>
  claims: Pick<ClaimManager, 'releaseGone'>
  sets: Pick<PodSets, 'allReady' | 'again'>
  manager: PodManager
  /** KubeletConfiguration `syncFrequency`, in milliseconds: so often, or up to half as long again. */
  syncMs: number
  metrics: Pick<KubeletMetrics, 'relistIntervalSeconds' | 'relistSeconds' | 'lastSeenSeconds'>
  clock: Clock
  log: Logger
}

export interface Housekeeping extends Period {
  /** Why the kubelet does not go on: it has not come round for too long. */
  problem(): string | undefined
}

const stuckMs = 300_000

/** Nothing is ended or removed before all sources have been read. */
export function createHousekeeping(options: HousekeepingOptions): Housekeeping {
  const { services, claims, sets, manager, syncMs, metrics, clock, log } = options
  const { reader, cgroups, userNamespaces, node } = services
  const longestMs = Math.max(stuckMs, 2 * syncMs)
  let turnedMs = clock.now()
  let listedMs: number | undefined

  const relist: typeof reader.podUids = async (signal) => {
    const beganMs = clock.now()
    if (listedMs !== undefined) metrics.relistIntervalSeconds.observe((beganMs - listedMs) / 1000)
    listedMs = beganMs
    metrics.lastSeenSeconds.set(beganMs / 1000)
    const took = metrics.relistSeconds.startTimer()
    return reader.podUids(signal).finally(took)
  }
  const period = startPeriod({
    ms: syncMs,
    jitter: 0.5,
    clock,
    onError: (error, again) => log.warn({ err: error, again }, 'housekeeping'),
    async run(signal) {
      turnedMs = clock.now()
      await sets.allReady
      turnedMs = clock.now()
      const inRuntime = await relist(signal)
      sets.again()
      manager.endOrphans(inRuntime)
      const isKept = (podUid: string): boolean => inRuntime.has(podUid) || manager.has(podUid)
      for (const uid of (await cgroups?.list()) ?? []) if (!manager.has(uid)) await cgroups?.remove(uid)
      await removeStaleLogs(node.podLogsDir, (uid) => !isKept(uid))
      for (const uid of userNamespaces.uids()) if (!manager.has(uid)) await userNamespaces.release(uid)
      await removeGonePods(services, isKept).catch((error: unknown) => {
        log.warn({ err: error }, 'what is left on disk of pods that are gone stays until the next time')
      })
      manager.wakeAll()
      await claims.releaseGone(manager.uids(), signal)
    },
  })
  return {
    ...period,
    problem: () => (clock.now() - turnedMs > longestMs ? 'sync Loop took longer than expected' : undefined),
  }
}
