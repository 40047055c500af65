// Processes that are not our children, told apart from later ones with the same number.
import { readFileSync } from 'node:fs'
import { onProcessEnd } from '@nodelet/linux'

/** A process: its number and when it started, in clock ticks since boot. */
export interface ProcessRef {
  pid: number
  startTime: number
}

/** The reference of a process that lives now; undefined when there is none, or only a zombie. */
export function processRef(pid: number): ProcessRef | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined // /proc has no such process: that is the answer
  }
  // The name, in brackets, may itself hold blanks and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const startTime = Number(fields[19])
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, startTime }
}

/** Whether that very process still lives. */
export function isAlive(ref: ProcessRef): boolean {
  return processRef(ref.pid)?.startTime === ref.startTime
}

/** Waits for the end of a process, at most `ms`, and answers whether it has ended. */
export async function endsWithin(ref: ProcessRef, ms: number): Promise<boolean> {
  const end = Promise.withResolvers<void>()
  using _watch = onProcessEnd(ref.pid, end.resolve)
  if (!isAlive(ref)) return true
  const timer = setTimeout(end.resolve, ms)
  await end.promise
  clearTimeout(timer)
  return !isAlive(ref)
}

/** Kills a process, or with a negative number a process group; fine when it is gone. */
export function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // gone since the look: that is what was wanted
  }
}

/** Kills the group that a process leads, and the process. */
export function killGroup(pid: number): void {
  killNow(-pid)
  killNow(pid)
}

/** When a process began, in milliseconds since the epoch; the kernel counts in hundredths of a second. */
export function beginOf({ startTime }: ProcessRef): number {
  const uptime = Number.parseFloat(readFileSync('/proc/uptime', 'utf8'))
  return Math.round(Date.now() - uptime * 1000 + startTime * 10)
}
