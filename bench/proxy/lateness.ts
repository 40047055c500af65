// How long others wait for the event loop while something is done.
import { monitorEventLoopDelay } from 'node:perf_hooks'
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

export async function lateness(work: () => Promise<void>): Promise<Lateness> {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  const turns: number[] = []
  let last = process.threadCpuUsage()
  let isOver = false
  const turn = (): void => {
    const { user, system } = process.threadCpuUsage(last)
    last = process.threadCpuUsage()
    turns.push((user + system) / 1000)
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
