// What the proxy does with its tools, as it tells on a diagnostics channel.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ProgramRun } from '@nodelet/proxy-rules'

/** What programs did meanwhile. */
export interface Load {
  ms: number
  /** Of these, so long programs ran. */
  toolMs: number
  /** What they read. */
  bytes: number
}

const channel = 'nodelet:proxy:program'

/** Runs `work` and tells what it took. */
export async function measured(work: () => Promise<void>): Promise<Load> {
  const runs: { from: number; to: number; bytes: number }[] = []
  const note = (message: unknown): void => {
    const { ms, inputBytes } = message as ProgramRun
    const to = performance.now()
    runs.push({ from: to - ms, to, bytes: inputBytes })
  }
  subscribe(channel, note)
  const began = performance.now()
  try {
    await work()
  } finally {
    unsubscribe(channel, note)
  }
  const ms = performance.now() - began
  return { ms, toolMs: covered(runs), bytes: runs.reduce((sum, run) => sum + run.bytes, 0) }
}

/** Once a program has read something, and ended. */
export const nextLoad = async (): Promise<void> =>
  new Promise((resolve) => {
    const look = (message: unknown): void => {
      if ((message as ProgramRun).inputBytes === 0) return
      unsubscribe(channel, look)
      resolve()
    }
    subscribe(channel, look)
  })

/** Some run at the same time. */
function covered(spans: readonly { from: number; to: number }[]): number {
  let [sum, end] = [0, 0]
  for (const { from, to } of spans.toSorted((a, b) => a.from - b.from)) {
    sum += Math.max(0, to - Math.max(from, end))
    end = Math.max(end, to)
  }
  return sum
}
