// What the process costs, told in its log when it is asked by a signal.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Logger } from 'pino'

/** How often the loop is looked at, in milliseconds. */
const resolution = 2

/**
 * At each SIGUSR2 logs memory, and how late the event loop came since the signal before. The loop is not watched before
 * the first: a watch wakes the process hundreds of times a second.
 */
export function tellOnSignal(log: Logger): void {
  let delay: ReturnType<typeof monitorEventLoopDelay> | undefined
  process.on('SIGUSR2', () => {
    const { rss, heapUsed, external } = process.memoryUsage()
    log.info({ rss, heapUsed, external, ...(delay && { loopDelayMs: delaysOf(delay) }) }, 'diagnosis')
    delay ??= monitorEventLoopDelay({ resolution })
    delay.reset()
    delay.enable()
  })
}

const delaysOf = (histogram: ReturnType<typeof monitorEventLoopDelay>): Record<string, number> => {
  // The histogram has the time between two looks, which is the resolution when nothing is late.
  const late = (nanoseconds: number): number => Math.max(0, Math.round(nanoseconds / 1e4 - resolution * 100) / 100)
  const at = (percent: number): number => late(histogram.percentile(percent))
  return { p50: at(50), p90: at(90), p99: at(99), max: late(histogram.max) }
}
