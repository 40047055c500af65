// Processes that are not our children, told apart from later ones with the same number.
import { readFileSync } from 'node:fs'

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
