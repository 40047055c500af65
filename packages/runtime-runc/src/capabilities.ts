// Which capabilities a container gets.
import type { Capability } from '@nodelet/cri-api'
import type { OciCapabilities } from './spec/oci.ts'

/** All capabilities, at the index of their bit (linux/capability.h). */
export const CAPABILITIES: readonly string[] = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((name) => `CAP_${name}`)

/** What a container has unless it asks otherwise: the fourteen of Docker and containerd. */
export const DEFAULT_CAPABILITIES: readonly string[] = (
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL ' +
  'AUDIT_WRITE'
)
  .split(' ')
  .map((name) => `CAP_${name}`)

/** The names in a mask as /proc/PID/status prints it. */
export function capabilitiesOfMask(hex: string): string[] {
  const mask = BigInt(`0x${hex}`)
  return CAPABILITIES.filter((_, bit) => (mask >> BigInt(bit)) & 1n)
}

/**
 * Computes the sets: `ALL` first, then single additions, then single drops. What is not in `available` is left out,
 * because no runtime could give it: `missingCapabilities` tells.
 */
export function containerCapabilities(
  asked: Capability | undefined,
  privileged: boolean,
  available: readonly string[],
): OciCapabilities {
  if (privileged) return sets(available, [])
  const add = (asked?.addCapabilities ?? []).map(normalize)
  const drop = (asked?.dropCapabilities ?? []).map(normalize)
  const ambient = (asked?.addAmbientCapabilities ?? []).map(normalize)
  let result = new Set(add.includes('ALL') ? available : DEFAULT_CAPABILITIES)
  if (drop.includes('ALL')) result = new Set()
  for (const name of [...add, ...ambient]) if (name !== 'ALL') result.add(name)
  for (const name of drop) result.delete(name)
  const held = available.filter((name) => result.has(name))
  return sets(
    held,
    held.filter((name) => ambient.includes(name)),
  )
}

/** Inheritable stays empty unless ambient needs it: otherwise files with capabilities would raise them (CVE-2022-24769). */
function sets(names: readonly string[], ambient: readonly string[]): OciCapabilities {
  const all = [...names]
  return { bounding: all, permitted: all, effective: all, inheritable: [...ambient], ambient: [...ambient] }
}

/** Those that are asked for by name and cannot be given. */
export function missingCapabilities(asked: Capability | undefined, available: readonly string[]): string[] {
  const names = [...(asked?.addCapabilities ?? []), ...(asked?.addAmbientCapabilities ?? [])].map(normalize)
  return [...new Set(names)].filter((name) => name !== 'ALL' && !available.includes(name))
}

function normalize(name: string): string {
  const upper = name.toUpperCase()
  return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`
}
