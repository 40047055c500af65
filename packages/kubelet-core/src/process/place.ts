// KubeletConfiguration `kubeletCgroups` and `systemCgroups`: where the kubelet, and the system beside it, are accounted.
import { readlink } from 'node:fs/promises'
import { type Cgroups, LinuxError } from '@nodelet/linux'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/types.ts'
import type { Logger } from '../log.ts'
import { type Period, startPeriod } from '../node/period.ts'

const periodMs = 60_000

type Files = Pick<Cgroups, 'create' | 'ownProcesses' | 'attach'>

export interface PlaceOptions {
  configuration: Pick<KubeletConfiguration, 'kubeletCgroups' | 'systemCgroups'>
  cgroups: Files
  /** Whether this process is the kubelet's own: only then it is moved by itself. */
  ownProcess: boolean | undefined
  clock: Clock
  log: Logger
}

/** Looks once a minute, as others start processes too; undefined when everything may stay. */
export function keepPlaces({ configuration, cgroups, ownProcess, clock, log }: PlaceOptions): Period | undefined {
  const [ofKubelet, ofSystem] = [ownProcess ? configuration.kubeletCgroups : '', configuration.systemCgroups].map(
    (name) => name.replace(/^\/*/, name && '/'),
  )
  if (!ofKubelet && !ofSystem) return undefined
  return startPeriod({
    ms: periodMs,
    clock,
    onError: (error) => log.warn({ err: error }, 'kubeletCgroups, systemCgroups'),
    async run() {
      if (ofKubelet) await placeProcess(cgroups, ofKubelet, process.pid)
      if (ofSystem) await moveProcesses(cgroups, '/', ofSystem)
    },
  })
}

/** Moves one process, if it is not there yet; makes the cgroup. @throws LinuxError */
export async function placeProcess(cgroups: Files, path: string, pid: number): Promise<void> {
  await cgroups.create(path)
  if (!(await cgroups.ownProcesses(path)).includes(pid)) await cgroups.attach(path, pid)
}

/**
 * Moves all processes that are directly in one cgroup to another, but those of the kernel and the first; makes the other.
 * One that ends meanwhile is fine, and so is one that the kernel does not let go.
 */
export async function moveProcesses(cgroups: Files, from: string, to: string): Promise<void> {
  await cgroups.create(to)
  for (const pid of await cgroups.ownProcesses(from)) {
    if (pid === 1 || !(await hasProgram(pid))) continue
    try {
      await cgroups.attach(to, pid)
    } catch (error) {
      if (!(error instanceof LinuxError) || !['ESRCH', 'EINVAL'].includes(error.code)) throw error
    }
  }
}

/** Threads of the kernel have none. */
async function hasProgram(pid: number): Promise<boolean> {
  try {
    return (await readlink(`/proc/${pid}/exe`)) !== ''
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
