// How full volumes are: each is asked for time and again on its own, so that one that hangs holds up nothing else.
import type { VolumeStats, VolumeUse } from '@nodelet/csi-node'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { NodeletEvent } from '../events.ts'
import type { Logger } from '../log.ts'

/** As much as is known: of a block volume only what it holds. */
export interface MeteredStats extends Pick<VolumeStats, 'inodes' | 'condition'> {
  bytes?: Partial<VolumeUse>
}

/** What a driver says of a block volume: how full it is, no driver knows. */
export const blockStats = ({ bytes, condition }: VolumeStats): MeteredStats => ({
  ...(bytes && { bytes: { total: bytes.total } }),
  ...(condition && { condition }),
})

/** A volume of a pod that can tell how full it is. */
export interface MeterableVolume {
  /** In the pod. */
  name: string
  /** Undefined: it is inline. */
  claim?: { name: string; namespace: string } | undefined
  /** For `metric_source`: the driver, or `statfs`. */
  source: string
  /** Undefined: nothing can be known. */
  measure(signal: AbortSignal): Promise<MeteredStats | undefined>
}

/** A volume as it was last measured. */
export interface MeteredVolume extends Pick<MeterableVolume, 'name' | 'claim'> {
  timeMs: number
  stats: MeteredStats
}

export interface VolumeMeterOptions {
  /** KubeletConfiguration `volumeStatsAggPeriod`, in milliseconds: so long, or up to twice as long, after an answer comes the next question. 0 or less: never. */
  periodMs: number
  /** Feature gate `CSIVolumeHealth`; else what drivers say of a volume's condition is left out. */
  tellsHealth: boolean
  tell(pod: Pod, event: NodeletEvent): void
  /** Told how long an answer took. */
  measured(source: string, seconds: number): void
  clock: Clock
  log: Logger
}

export interface VolumeMeter {
  /** The pod has the volume: it is measured from now on. Again: nothing happens. */
  follow(pod: Pod, volume: MeterableVolume): void
  /** The pod's volumes go. */
  release(podUid: string): void
  /** What is known, without asking: volumes that did not answer the last time are left out. */
  of(podUid: string): MeteredVolume[]
  all(): MeteredVolume[]
  close(): void
}

interface Entry {
  ending: AbortController
  /** Takes the next question back. */
  cancel(): void
  last: MeteredVolume | undefined
}

export function createVolumeMeter(options: VolumeMeterOptions): VolumeMeter {
  const { periodMs, tellsHealth, tell, measured, clock, log } = options
  const pods = new Map<string, Map<string, Entry>>()

  const look = async (pod: Pod, volume: MeterableVolume, entry: Entry): Promise<void> => {
    const { signal } = entry.ending
    const { name, claim, source } = volume
    const beganMs = performance.now()
    try {
      const { condition, ...usage } = (await volume.measure(signal)) ?? {}
      measured(source, (performance.now() - beganMs) / 1000)
      const stats = { ...usage, ...(tellsHealth && condition && { condition }) }
      entry.last = Object.keys(stats).length > 0 ? { name, claim, timeMs: clock.now(), stats } : undefined
      if (tellsHealth && condition?.abnormal) {
        const message = `Volume ${name}: ${condition.message}`
        tell(pod, { type: 'Warning', reason: 'VolumeConditionAbnormal', message })
      }
    } catch (err) {
      entry.last = undefined
      if (!signal.aborted)
        log.debug({ err, pod: pod.metadata?.uid, volume: name }, 'a volume does not tell how full it is')
    }
    if (signal.aborted) return
    entry.cancel = clock.after(periodMs * (1 + Math.random()), () => void look(pod, volume, entry))
  }

  const end = ({ ending, cancel }: Entry): void => {
    ending.abort(new Error('the volume is not measured any more'))
    cancel()
  }
  const known = (entries: Iterable<Entry>): MeteredVolume[] => [...entries].flatMap(({ last }) => last ?? [])

  return {
    follow(pod, volume) {
      const uid = pod.metadata?.uid ?? ''
      const entries = pods.get(uid) ?? new Map<string, Entry>()
      if (periodMs <= 0 || entries.has(volume.name)) return
      const entry: Entry = { ending: new AbortController(), cancel: () => {}, last: undefined }
      pods.set(uid, entries.set(volume.name, entry))
      void look(pod, volume, entry)
    },
    release(podUid) {
      for (const entry of pods.get(podUid)?.values() ?? []) end(entry)
      pods.delete(podUid)
    },
    of: (podUid) => known(pods.get(podUid)?.values() ?? []),
    all: () => [...pods.values()].flatMap((entries) => known(entries.values())),
    close() {
      for (const entries of pods.values()) for (const entry of entries.values()) end(entry)
      pods.clear()
    },
  }
}
