// How long others wait for the event loop while something is done.
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import koffi from 'koffi'

/** Milliseconds. */
export interface Lateness {
  /** How late a timer came at most: with what else the machine did meanwhile. */
  timer: number
  /** What one turn of the event loop computed at most, or what turns within a millisecond did: so late a timer comes where nothing else runs. */
  max: number
  /** Of each millisecond. */
  p999: number
}

const resolutionMs = 1
const threadClock = 3
const clock = koffi.load(null).func('int clock_gettime(int, _Out_ int64_t *)')
const timespec = new BigInt64Array(2)

/** Milliseconds of this thread on a processor: getrusage only counts ticks. */
function threadMs(): number {
  clock(threadClock, timespec)
  return Number(timespec[0]) * 1000 + Number(timespec[1]) / 1e6
}

/**
 * Turns are not counted one by one: an immediate of each would be so much garbage that the program's own memory could not be told.
 * Between two ticks of a timer there are several, or a long one, which is then told by up to a tick too long.
 */
export async function lateness(work: () => Promise<void>): Promise<Lateness> {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  const turns = createHistogram()
  let last = threadMs()
  const tick = setInterval(() => {
    const now = threadMs()
    turns.record(Math.max(1, Math.round((now - last) * 1000)))
    last = now
  }, resolutionMs)
  delay.enable()
  try {
    await work()
  } finally {
    delay.disable()
    clearInterval(tick)
  }
  return {
    timer: Math.max(0, delay.max / 1e6 - resolutionMs),
    max: turns.max / 1000,
    p999: turns.percentile(99.9) / 1000,
  }
}
