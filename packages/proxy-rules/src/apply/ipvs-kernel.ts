// IPVS of one network namespace made ready: whether the kernel has it, its scheduler, its settings, its time limits.
import { release } from 'node:os'
import { openNetlink, type Ipvs, type IpvsTimeouts, type VirtualServer } from '@nodelet/linux'
import type { Logger } from '../log.ts'
import { runProgram } from './program.ts'
import { writeSysctl } from './sysctls.ts'

/** What is configured of IPVS beside what programs are compiled with. */
export interface IpvsKernelSettings {
  /** Default: the kernel's, 900. 0 as well. */
  tcpTimeoutSeconds?: number | undefined
  /** After the end of one side; default: the kernel's, 120. */
  tcpFinTimeoutSeconds?: number | undefined
  /** Default: the kernel's, 300. */
  udpTimeoutSeconds?: number | undefined
  /** Answer and announce by ARP only addresses of the asked interface; default false. */
  strictARP?: boolean | undefined
}

/** In TEST-NET-2: nobody's. */
const probe: Omit<VirtualServer, 'scheduler'> = { protocol: 'tcp', address: '198.51.100.0', port: 20_000 }
/** From the first to the second, reused ports lose connections unless they are scheduled as they were before. */
const reuseKernels = [4.01, 5.09] as const
/** The kernel keeps them as seconds times its clock's ticks in an int. */
const mostSeconds = 2_000_000

/**
 * Loads the kernel's module where it is missing, and sets what the proxy relies on.
 *
 * @throws Error when the kernel has no IPVS, or not this scheduler; RangeError for malformed time limits
 */
export async function prepareIpvs(
  scheduler: string,
  settings: IpvsKernelSettings,
  log: Logger,
  netns: string | undefined,
): Promise<void> {
  const timeouts = timeoutsOf(settings)
  using netlink = openNetlink({ netns })
  const { ipvs } = netlink
  await loadModule(ipvs)
  await tryScheduler(ipvs, scheduler)
  if (!writeSysctl('net/ipv4/vs/conntrack', 1, log, netns))
    throw new Error('net/ipv4/vs/conntrack cannot be set to 1: without it no source is masqueraded behind IPVS')
  writeSysctl('net/ipv4/vs/expire_nodest_conn', 1, log, netns)
  writeSysctl('net/ipv4/vs/expire_quiescent_template', 1, log, netns)
  writeSysctl('net/ipv4/ip_forward', 1, log, netns)
  if (needsReuseOff(release())) writeSysctl('net/ipv4/vs/conn_reuse_mode', 0, log, netns)
  if (settings.strictARP) {
    writeSysctl('net/ipv4/conf/all/arp_ignore', 1, log, netns)
    writeSysctl('net/ipv4/conf/all/arp_announce', 2, log, netns)
  }
  if (Object.values(timeouts).some((seconds) => seconds > 0)) await ipvs.setTimeouts(timeouts)
}

/** Whether a kernel, by its release, wants `conn_reuse_mode` off. Pure. */
export function needsReuseOff(kernel: string): boolean {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(kernel) ?? []
  const version = Number(major) + Number(minor) / 100
  return version >= reuseKernels[0] && version < reuseKernels[1]
}

function timeoutsOf(settings: IpvsKernelSettings): IpvsTimeouts {
  const seconds = (name: 'tcpTimeoutSeconds' | 'tcpFinTimeoutSeconds' | 'udpTimeoutSeconds'): number => {
    const value = settings[name] ?? 0
    if (Number.isInteger(value) && value >= 0 && value <= mostSeconds) return value
    throw new RangeError(`ipvs.${name}: ${JSON.stringify(value)} is no number of seconds from 0 to ${mostSeconds}`)
  }
  return {
    tcpSeconds: seconds('tcpTimeoutSeconds'),
    tcpFinSeconds: seconds('tcpFinTimeoutSeconds'),
    udpSeconds: seconds('udpTimeoutSeconds'),
  }
}

async function loadModule(ipvs: Ipvs): Promise<void> {
  if (await ipvs.version()) return
  // Where modprobe cannot be started, or fails, the kernel still may not have it: that is asked next.
  const said = await runProgram('modprobe', ['-va', 'ip_vs']).then(
    ({ stderr }) => stderr.trim(),
    (error: unknown) => (error as Error).message,
  )
  if (await ipvs.version()) return
  throw new Error(
    `the kernel has no IPVS (${said || 'modprobe ip_vs loaded nothing'}): use the mode nftables or iptables`,
  )
}

/** One that is in use is there. */
async function tryScheduler(ipvs: Ipvs, scheduler: string): Promise<void> {
  if ((await ipvs.list()).some((server) => server.scheduler === scheduler)) return
  const server = { ...probe, scheduler }
  const [refused] = await ipvs.change([{ kind: 'addVirtualServer', server }])
  if (refused?.error.code === 'ENOENT')
    throw new Error(`ipvs.scheduler: the kernel has no ${scheduler}: load the module ip_vs_${scheduler}, or use rr`)
  if (refused && refused.error.code !== 'EEXIST') throw refused.error
  await ipvs.change([{ kind: 'deleteVirtualServer', server }])
}
