// What the proxy does with its tools and the kernel, as diagnostics channels tell.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { NetlinkPacket } from '@nodelet/linux'
import type { ProgramRun } from '@nodelet/proxy-rules'

/** What was done meanwhile. */
export interface Load {
  ms: number
  /** Of these, so long programs ran. */
  toolMs: number
  /** What they read, and what was sent to the kernel by netlink. */
  bytes: number
}

const programs = 'nodelet:proxy:program'
const netlink = 'nodelet:linux:netlink'

/** Runs `work` and tells what it took. */
export async function measured(work: () => Promise<void>): Promise<Load> {
  const runs: { from: number; to: number; bytes: number }[] = []
  const note = (message: unknown): void => {
    const { ms, inputBytes } = message as ProgramRun
    const to = performance.now()
    runs.push({ from: to - ms, to, bytes: inputBytes })
  }
  let sent = 0
  const noteSent = (message: unknown): void => void (sent += (message as NetlinkPacket).bytes)
  subscribe(programs, note)
  subscribe(netlink, noteSent)
  const began = performance.now()
  try {
    await work()
  } finally {
    unsubscribe(programs, note)
    unsubscribe(netlink, noteSent)
  }
  const ms = performance.now() - began
  return { ms, toolMs: covered(runs), bytes: runs.reduce((sum, run) => sum + run.bytes, sent) }
}

/** Once a program has read something, and ended; or something was sent. */
export const nextLoad = async (channel: typeof programs | typeof netlink): Promise<void> =>
  new Promise((resolve) => {
    const look = (message: unknown): void => {
      if ((message as Partial<ProgramRun>).inputBytes === 0) return
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
