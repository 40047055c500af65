// What this node uses of its memory, disks and process ids.
import { readFile, stat } from 'node:fs/promises'
import type { CgroupStats } from '@nodelet/linux'
import type { DiskUsage, NodeUsage } from '../eviction/usage.ts'
import { readDisk } from './filesystem.ts'

export interface NodeUsageOptions {
  /** Its file system is the node's. */
  rootDir: string
  /** Where the runtime keeps its images; undefined when it does not tell. */
  imageFolder(signal: AbortSignal): Promise<string | undefined>
  /** Of the cgroup of all pods, and what they may use of memory; undefined without such a cgroup. */
  pods?: { stats(): Promise<CgroupStats>; memoryBytes: bigint } | undefined
  now(): number
}

/** @throws Error of the runtime, or of a file system that cannot be asked */
export async function readNodeUsage(options: NodeUsageOptions, signal: AbortSignal): Promise<NodeUsage> {
  const { rootDir, imageFolder, pods, now } = options
  const timeMs = now()
  const [memory, nodefs, imagefs, pids, ofPods] = await Promise.all([
    readMemory(),
    readDisk(rootDir),
    readImageDisk(imageFolder, rootDir, signal),
    readPids(),
    pods?.stats(),
  ])
  const podsMemory = pods && ofPods?.memory && share(pods.memoryBytes, BigInt(ofPods.memory.workingSet))
  return { timeMs, memory, nodefs, imagefs, pids, ...(podsMemory && { podsMemory }) }
}

const share = (capacityBytes: bigint, used: bigint): NodeUsage['memory'] => ({
  capacityBytes,
  availableBytes: used < capacityBytes ? capacityBytes - used : 0n,
})

/** All that is in use but for file pages that the kernel can drop at once. */
async function readMemory(): Promise<NodeUsage['memory']> {
  const meminfo = await readFile('/proc/meminfo', 'utf8')
  const bytes = (name: string): bigint =>
    BigInt(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? '0') * 1024n
  const total = bytes('MemTotal')
  const used = total - bytes('MemFree') - bytes(String.raw`Inactive\(file\)`)
  return share(total, used)
}

/** The disk of images; undefined when it is the node's, or is not of this machine. */
async function readImageDisk(
  imageFolder: NodeUsageOptions['imageFolder'],
  rootDir: string,
  signal: AbortSignal,
): Promise<DiskUsage | undefined> {
  const path = await imageFolder(signal)
  if (path === undefined) return undefined
  const [images, root] = await Promise.all([stat(path), stat(rootDir)])
  return images.dev === root.dev ? undefined : readDisk(path)
}

/** Threads count, for each has an id. */
async function readPids(): Promise<{ max: bigint; running: bigint }> {
  const [most, threads, load] = await Promise.all(
    ['/proc/sys/kernel/pid_max', '/proc/sys/kernel/threads-max', '/proc/loadavg'].map(async (path) =>
      readFile(path, 'utf8'),
    ),
  )
  const limits = [most, threads].map((text) => BigInt(text?.trim() || '0'))
  const max = limits.reduce((least, limit) => (limit < least ? limit : least))
  return { max, running: BigInt(/ \d+\/(\d+) /.exec(load ?? '')?.[1] ?? '0') }
}
