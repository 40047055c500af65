// What this machine is and has.
import { readFile, stat, statfs } from 'node:fs/promises'
import { arch, availableParallelism, release, totalmem } from 'node:os'
import { hugePagesIn } from '../topology/numa.ts'

export interface MachineFacts {
  /** As Go names it: `amd64`, `arm64`. */
  architecture: string
  cpus: number
  memoryBytes: bigint
  ephemeralStorageBytes: bigint
  machineId: string
  systemUuid: string
  bootId: string
  kernelVersion: string
  osImage: string
  /** Page size such as `2Mi` → bytes reserved. */
  hugepages: Readonly<Record<string, bigint>>
  /** 0: none is on. */
  swapBytes: bigint
  /** AppArmor is enabled. */
  appArmor: boolean
  /** `/sys/devices/system/cpu/cpuN/thermal_throttle`, those that exist. */
  thermalThrottle: readonly string[]
}

const architectures: Record<string, string> = { x64: 'amd64', ia32: '386' }

/** Reads the machine. What it does not tell is empty. @param rootDir whose file system is the node's */
export async function readMachine(rootDir: string): Promise<MachineFacts> {
  const [machineId, systemUuid, bootId, osRelease, meminfo, appArmor, pages, disk] = await Promise.all([
    text('/etc/machine-id'),
    text('/sys/class/dmi/id/product_uuid'),
    text('/proc/sys/kernel/random/boot_id'),
    text('/etc/os-release'),
    text('/proc/meminfo'),
    text('/sys/module/apparmor/parameters/enabled'),
    hugePagesIn('/sys/kernel/mm/hugepages'),
    statfs(rootDir, { bigint: true }),
  ])
  const kib = (name: string): bigint => BigInt(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? '0') * 1024n
  const cpus = availableParallelism()
  const throttles = Array.from({ length: cpus }, (_, index) => `/sys/devices/system/cpu/cpu${index}/thermal_throttle`)
  const there = await Promise.all(throttles.map(exists))
  return {
    architecture: architectures[arch()] ?? arch(),
    cpus,
    memoryBytes: kib('MemTotal') || BigInt(totalmem()),
    ephemeralStorageBytes: disk.blocks * disk.bsize,
    machineId,
    systemUuid: systemUuid || machineId,
    bootId,
    kernelVersion: release(),
    osImage: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(osRelease)?.[1] ?? 'Linux',
    hugepages: Object.fromEntries(
      Object.entries(pages).map(([name, bytes]) => [name.slice('hugepages-'.length), bytes]),
    ),
    swapBytes: kib('SwapTotal'),
    appArmor: appArmor === 'Y',
    thermalThrottle: throttles.filter((_, index) => there[index]),
  }
}

async function text(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch {
    // Containers and small machines lack some of these files; the Node then says nothing there.
    return ''
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch {
    // The usual case on virtual machines.
    return false
  }
}
