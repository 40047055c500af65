// Processes by what /proc tells of them.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { MiB } from '../figures.ts'

/** In MiB: resident, and with what is shared divided among its users. */
export interface Memory {
  resident: number
  proportional: number
}

const textOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has ended
  }
}
const field = (text: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1024

export function memoryOf(pids: readonly number[]): Memory {
  const rollups = pids.map((pid) => textOf(`/proc/${pid}/smaps_rollup`))
  const sum = (name: string): number => rollups.reduce((total, text) => total + field(text, name), 0)
  return { resident: sum('Rss'), proportional: sum('Pss') }
}

/** Lets the peak begin anew. */
export const forgetPeak = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, '5')

/** The most that was resident since, in MiB. */
export const peakOf = (pid: number): number => field(textOf(`/proc/${pid}/status`), 'VmHWM')

/** Seconds of processor that the process and its ended children took. */
export function cpuOf(pid: number): number {
  const stat = textOf(`/proc/${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at] ?? 0), 0) / 100
}

interface Process {
  pid: number
  parent: number
  name: string
  command: string
}

function processes(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => {
      const stat = textOf(`/proc/${name}/stat`)
      return {
        pid: Number(name),
        parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0),
        name: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')),
        command: textOf(`/proc/${name}/cmdline`).replaceAll('\0', ' '),
      }
    })
}

/** Those that a runtime keeps beside its daemon: the monitors of its containers, and what holds its pods. */
export function helpersOf(folder: string, monitor: string): number[] {
  const all = processes()
  const monitors = all.filter(({ name, command }) => monitor.startsWith(name) && command.includes(folder))
  const held = new Set(monitors.map(({ pid }) => pid))
  const pauses = all.filter(({ parent, name }) => held.has(parent) && name === 'pause')
  return [...monitors, ...pauses].map(({ pid }) => pid)
}

export const mib = (bytes: number): number => bytes / MiB
