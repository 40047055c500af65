// Which sysctls pods may set. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

type Namespace = 'ipc' | 'net'

/** Those that concern no other pod, with the kernel that they need at least. */
const safe: readonly { name: string; kernel?: readonly [number, number] }[] = [
  { name: 'kernel.shm_rmid_forced' },
  { name: 'net.ipv4.ip_local_port_range' },
  { name: 'net.ipv4.tcp_syncookies' },
  { name: 'net.ipv4.ping_group_range' },
  { name: 'net.ipv4.ip_unprivileged_port_start' },
  { name: 'net.ipv4.ip_local_reserved_ports', kernel: [3, 16] },
  { name: 'net.ipv4.tcp_keepalive_time', kernel: [4, 5] },
  { name: 'net.ipv4.tcp_fin_timeout', kernel: [4, 6] },
  { name: 'net.ipv4.tcp_keepalive_intvl', kernel: [4, 5] },
  { name: 'net.ipv4.tcp_keepalive_probes', kernel: [4, 5] },
  { name: 'net.ipv4.tcp_rmem', kernel: [4, 15] },
  { name: 'net.ipv4.tcp_wmem', kernel: [4, 15] },
]

/** The namespace of a pod that keeps a sysctl from other pods. */
export function sysctlNamespace(written: string): Namespace | undefined {
  const name = normal(written)
  if (/^kernel\.(shm|msg)/.test(name) || name === 'kernel.sem' || name.startsWith('fs.mqueue.')) return 'ipc'
  return name.startsWith('net.') ? 'net' : undefined
}

const normal = (name: string): string => name.replaceAll('/', '.')

export interface SysctlRules {
  /** @returns what is wrong, for instance `forbidden sysctl: "kernel.panic" not allowlisted` */
  problemOf(pod: Pod): string | undefined
}

/**
 * @param unsafe KubeletConfiguration `allowedUnsafeSysctls`: names, or beginnings that end in `*`
 * @param release of the kernel, for instance `6.18.5`
 * @throws RangeError naming one that no namespace keeps from other pods
 */
export function sysctlRules(unsafe: readonly string[], release: string): SysctlRules {
  const [major = 0, minor = 0] = release.split('.').map(Number)
  const hasKernel = ([least, then]: readonly [number, number]): boolean =>
    major > least || (major === least && minor >= then)
  const names = new Set(safe.filter(({ kernel = [0, 0] as const }) => hasKernel(kernel)).map(({ name }) => name))
  const beginnings: string[] = []
  for (const entry of unsafe) {
    const [, begin = '', star] = /^([a-z0-9_.\-/]+?)(\*?)$/.exec(entry) ?? []
    const name = normal(begin)
    if (!name || !sysctlNamespace(star && !name.endsWith('.') ? `${name}x` : name)) {
      throw new RangeError(
        `allowedUnsafeSysctls ${JSON.stringify(entry)}: no namespace keeps it from other pods; allowed are kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.*`,
      )
    }
    if (star) beginnings.push(name)
    else names.add(name)
  }
  const isAllowed = (name: string): boolean => names.has(name) || beginnings.some((begin) => name.startsWith(begin))
  return {
    problemOf({ spec }) {
      for (const { name } of spec?.securityContext?.sysctls ?? []) {
        const wanted = normal(name)
        if (!isAllowed(wanted)) return `forbidden sysctl: ${JSON.stringify(wanted)} not allowlisted`
        const namespace = sysctlNamespace(wanted)
        const shared = { ipc: spec?.hostIPC, net: spec?.hostNetwork }
        if (namespace && shared[namespace]) {
          return `forbidden sysctl: ${JSON.stringify(wanted)} not allowed with host ${namespace} enabled`
        }
      }
      return undefined
    },
  }
}
