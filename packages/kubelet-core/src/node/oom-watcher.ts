// Tells of processes that the kernel killed because the machine had no memory left.
import { followKernelLog } from '@nodelet/linux'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { type OomReading, readOomLine } from './oom-lines.ts'

export interface OomWatcherOptions {
  /** The kernel's log; default `/dev/kmsg`. */
  path?: string | undefined
  events: Pick<EventRecorder, 'recordNode'>
  /** Ends it. */
  signal: AbortSignal
  log: Logger
}

/** Facility of the kernel's own records: any program may write to the log, but not as the kernel. */
const kernel = 0

/** An event of the node for each kill from now on. Fulfilled at the end, or at once where the log cannot be read. */
export async function watchOom({ path, events, signal, log }: OomWatcherOptions): Promise<void> {
  let reading: OomReading = { pending: false }
  try {
    for await (const { facility, text } of followKernelLog({ path, signal })) {
      if (facility !== kernel) continue
      reading = readOomLine(reading, text)
      if (!reading.victim) continue
      const { name, pid } = reading.victim
      const message = `System OOM encountered, victim process: ${name}, pid: ${pid}`
      events.recordNode({ type: 'Warning', reason: 'SystemOOM', message })
    }
  } catch (error) {
    log.warn({ err: error }, "the kernel's log cannot be read: when the machine runs out of memory, nobody is told")
  }
}
