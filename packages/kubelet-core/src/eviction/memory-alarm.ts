// KubeletConfiguration `kernelMemcgNotification`: the kernel tells when memory runs short, before the next look.
import type { Cgroups } from '@nodelet/linux'
import type { Logger } from '../log.ts'
import { amountIn, type Threshold } from './thresholds.ts'

export interface MemoryAlarmOptions {
  cgroups: Pick<Cgroups, 'stats' | 'onMemoryUsage'>
  /** What each signal measures: a cgroup, and all that it may use, in bytes. */
  measured: Partial<Record<Threshold['signal'], { path: string; capacityBytes: bigint }>>
  log: Logger
}

export interface MemoryAlarm extends Disposable {
  /** Sets it anew: when a threshold is crossed depends on the file pages that could be dropped, which change. */
  arm(thresholds: readonly Threshold[], ring: () => void): Promise<void>
}

export function createMemoryAlarm({ cgroups, measured, log }: MemoryAlarmOptions): MemoryAlarm {
  if (!cgroups.onMemoryUsage) log.info({}, 'kernelMemcgNotification: this kernel has no such event for its cgroups')
  let armed = new DisposableStack()
  return {
    async arm(thresholds, ring) {
      armed.dispose()
      const arming = (armed = new DisposableStack())
      for (const { signal, value } of thresholds) {
        const place = measured[signal]
        if (!place) continue
        try {
          const { memory } = await cgroups.stats(place.path)
          const limit = place.capacityBytes - amountIn(value, place.capacityBytes) + BigInt(memory?.inactiveFile ?? 0)
          const watch = await cgroups.onMemoryUsage?.(place.path, limit, ring)
          if (arming.disposed) watch?.[Symbol.dispose]()
          else if (watch) arming.use(watch)
        } catch (error) {
          log.warn({ err: error, signal, cgroup: place.path }, 'the kernel does not tell when memory runs short')
        }
      }
    },
    [Symbol.dispose]: () => armed.dispose(),
  }
}
