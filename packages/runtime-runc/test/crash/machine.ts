// What a machine has of one runtime: everything that could leak.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openNetlink, readMountInfo } from '@nodelet/linux'
import { expect } from 'vitest'
import { cgroupFolders } from '../fixture.ts'

/** Names that change without meaning, and files that are the kubelet's. */
const ignored = /\/(logs|state\/pause|last_reserved_ip.*|lock|cri\.sock)$/
/** What is below is the container's own. */
const opaque = /\/(rootfs\/[^/]+\/(merged|upper|work)|l\/[^/]+\/fs|pods\/[0-9a-f]+\/shm)$/

/** One line each: mounts, processes, cgroups, links, port rules, files. */
export async function machineState(folder: string, cgroup: string): Promise<string[]> {
  const host = join(folder, 'host-net')
  const mounts = (await readMountInfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${folder}/`))
  using netlink = openNetlink({ netns: host })
  const links = await netlink.links.list()
  const rules = execFileSync('nsenter', [`--net=${host}`, 'iptables-save', '-t', 'nat'], { encoding: 'utf8' })
  return [
    ...mounts.map(({ mountPoint, type }) => `mount ${type} ${mountPoint}`),
    ...processes(folder).map((argv) => `process ${argv}`),
    ...cgroupFolders(cgroup).flatMap((path) => foldersBelow(path).map((name) => `cgroup ${name}`)),
    ...links.map(({ name }) => `link ${name}`),
    ...rules
      .split('\n')
      .filter((line) => line.startsWith('-A'))
      .map((line) => `rule ${line}`),
    ...filesBelow(folder).map((path) => `file ${path}`),
  ].toSorted()
}

/** Pods' links that the kernel deletes with their namespaces, some 30 ms after a pod has stopped: their end here is down. */
export async function linksGoing(folder: string): Promise<string[]> {
  using netlink = openNetlink({ netns: join(folder, 'host-net') })
  return (await netlink.links.list()).filter(({ name, up }) => name.startsWith('veth') && !up).map(({ name }) => name)
}

/** Command lines that name the folder, but for daemons and their tests. */
export const processes = (folder: string): string[] => processesOf(folder).map(({ argv }) => argv)

/** The same with their numbers. */
export function processesOf(folder: string): { pid: number; argv: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const argv = textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')
      return argv.includes(folder) && !argv.includes('daemon.ts') ? [{ pid: Number(pid), argv }] : []
    })
}

/** Waits for the one conmon of the folder whose command line has the word, and kills it. */
export async function killMonitor(folder: string, word: string): Promise<void> {
  const isMonitor = ({ argv }: { argv: string }): boolean => /^\S*conmon /.test(argv) && argv.includes(word)
  const find = (): number[] => processesOf(folder).flatMap((one) => (isMonitor(one) ? [one.pid] : []))
  await expect.poll(find, { interval: 5 }).toHaveLength(1)
  for (const pid of find()) process.kill(pid, 'SIGKILL')
}

/** Numbers of the processes of a cgroup and below. */
export function processesIn(cgroup: string): number[] {
  const files = cgroupFolders(cgroup).flatMap((path) => foldersBelow(path).map((name) => join(name, 'cgroup.procs')))
  return [...new Set(files.flatMap((file) => textOf(file).split('\n').filter(Boolean).map(Number)))]
}

function foldersBelow(path: string): string[] {
  if (!existsSync(path)) return []
  const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return [path, ...children.flatMap(({ name }) => foldersBelow(join(path, name)))]
}

function filesBelow(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    const child = join(path, entry.name)
    if (ignored.test(child)) return []
    return entry.isDirectory() && !opaque.test(child) ? [child, ...filesBelow(child)] : [child]
  })
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has just gone
  }
}
