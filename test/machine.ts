// What a machine has that a node could leave behind: to be compared before and after.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

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
    .filter((line) => line !== '')
    .toSorted()
const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' })

/** Looks at this process's namespaces. */
export function machineState(): MachineState {
  return {
    mounts: lines(readFileSync('/proc/self/mountinfo', 'utf8')).map((line) => line.split(' ').slice(3, 5).join(' ')),
    cgroups: cgroupFolders(),
    links: run('ip', '-o', 'link').split('\n').map((line) => line.split(': ')[1] ?? '').toSorted(),
    addresses: lines(run('ip', '-o', 'address')).map((line) => line.split(/\s+/).slice(1, 4).join(' ')).toSorted(),
    routes: lines(run('ip', 'route')),
    rules: [
      ...rulesOf('iptables-save'),
      ...rulesOf('ip6tables-save'),
      ...lines(run('nft', '-s', 'list', 'ruleset')).filter((line) => !line.startsWith('#')),
    ],
    processes: processesOf(['conmon', 'runc']),
  }
}

/** Without counters and comments; the tables' built-in chains appear by being looked at. */
function rulesOf(program: string): string[] {
  return lines(run(program)).filter((line) => line.startsWith('-A') || /^:(KUBE|CNI)/.test(line))
}

function cgroupFolders(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const roots = mounts.filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(' ')[4] ?? '')
  return roots.flatMap((root) => readdirSync(root).filter((name) => isFolder(join(root, name))).map((name) => join(root, name))).toSorted()
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function processesOf(names: readonly string[]): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return names.includes(readFileSync(`/proc/${pid}/comm`, 'utf8').trim())
      } catch {
        return false // it has just ended
      }
    })
    .toSorted()
}
