// What the processes of a container hold open.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface ProcessUsage {
  processes: number
  threads: number
  fileDescriptors: number
  sockets: number
  /** The soft limit on open files of the first process; absent when it is unlimited. */
  openFilesLimit?: number
}

/** Processes that end meanwhile are left out. */
export function processUsage(pids: readonly number[]): ProcessUsage {
  const usage: ProcessUsage = { processes: 0, threads: 0, fileDescriptors: 0, sockets: 0 }
  for (const pid of pids) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      const descriptors = readdirSync(`/proc/${pid}/fd`)
      usage.processes += 1
      usage.threads += Number(/^Threads:\s*(\d+)$/m.exec(status)?.[1] ?? 0)
      usage.fileDescriptors += descriptors.length
      usage.sockets += descriptors.filter((fd) => isSocket(`/proc/${pid}/fd/${fd}`)).length
    } catch {
      // it has ended: what it held is closed
    }
  }
  const limit = pids[0] === undefined ? undefined : openFilesLimit(pids[0])
  return { ...usage, ...(limit !== undefined && { openFilesLimit: limit }) }
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:')
  } catch {
    return false // closed since the folder was read
  }
}

function openFilesLimit(pid: number): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined // it has ended
  }
}
