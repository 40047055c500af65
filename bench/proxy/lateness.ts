// How long others wait for the event loop while something is done.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import koffi from 'koffi'
import { quantile } from '../figures.ts'

/** Milliseconds. */
export interface Lateness {
  /** How late a timer came at most: with what else the machine did meanwhile. */
  timer: number
  /** What one turn of the event loop computed at most: so late a timer comes where nothing else runs. */
  max: number
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

export async function lateness(work: () => Promise<void>): Promise<Lateness> {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  const turns: number[] = []
  let last = threadMs()
  let isOver = false
  const turn = (): void => {
    const now = threadMs()
    turns.push(now - last)
    last = now
    if (!isOver) setImmediate(turn)
  }
  delay.enable()
  setImmediate(turn)
  try {
    await work()
  } finally {
    delay.disable()
    isOver = true
  }
  return {
    timer: Math.max(0, delay.max / 1e6 - resolutionMs),
    max: turns.reduce((most, ms) => Math.max(most, ms), 0),
    p999: quantile(turns, 0.999),
  }
}
