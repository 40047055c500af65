// What a machine has that a node could leave behind: to be compared before and after.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { TestMachine } from './machine.ts'

/** Sorted lines, one per thing. */
export interface MachineState {
  mounts: string[]
  cgroups: string[]
  links: string[]
  addresses: string[]
  routes: string[]
  rules: string[]
  processes: string[]
}

const lines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .toSorted((a, b) => (a < b ? -1 : 1))

/** Looks at the mounts, cgroups and processes of all, and at the network of one machine. */
export async function machineState({ run }: Pick<TestMachine, 'run'>): Promise<MachineState> {
  const say = async (program: string, ...args: string[]): Promise<string[]> =>
    lines((await run(program, ...args)).stdout)
  const ownRules = (saved: readonly string[]): string[] =>
    saved.filter((line) => line.startsWith('-A') || /^:(KUBE|CNI)/.test(line))
  return {
    mounts: lines(readFileSync('/proc/self/mountinfo', 'utf8')).map((line) => line.split(' ').slice(3, 5).join(' ')),
    cgroups: cgroupFolders(),
    links: (await say('ip', '-o', 'link')).map((line) => line.split(': ')[1] ?? ''),
    addresses: (await say('ip', '-o', 'address')).map((line) => line.split(/\s+/).slice(1, 4).join(' ')),
    routes: await say('ip', 'route'),
    rules: [...ownRules(await say('iptables-save')), ...ownRules(await say('ip6tables-save'))],
    processes: processesOf(['conmon', 'runc']),
  }
}

function cgroupFolders(): string[] {
  const mounts = lines(readFileSync('/proc/self/mountinfo', 'utf8'))
  const roots = mounts.filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4] ?? '')
  return roots.flatMap((root) =>
    readdirSync(root)
      .map((name) => join(root, name))
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory()),
  )
}

function processesOf(names: readonly string[]): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && names.includes(readFileSync(`/proc/${pid}/comm`, 'utf8').trim())
    } catch {
      return false // it has just ended
    }
  })
}
