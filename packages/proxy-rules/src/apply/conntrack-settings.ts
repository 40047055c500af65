// How many connections the kernel tracks, and for how long.
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { Logger } from '../log.ts'
import { setSysctl } from './sysctls.ts'

/** Of numbers and seconds, a zero leaves what the kernel has. */
export interface ConntrackSettings {
  /** Tracked connections per core. */
  maxPerCore: number
  /** Tracked connections in all, at least; counts only with `maxPerCore`. */
  min: number
  tcpEstablishedSeconds: number
  tcpCloseWaitSeconds: number
  /** Lets TCP packets pass that are out of the window; false leaves what the kernel has, as with kube-proxy. */
  tcpBeLiberal: boolean
  udpSeconds: number
  udpStreamSeconds: number
}

/** As kube-proxy has them. */
export const usualConntrack: ConntrackSettings = {
  maxPerCore: 32_768,
  min: 131_072,
  tcpEstablishedSeconds: 24 * 60 * 60,
  tcpCloseWaitSeconds: 60 * 60,
  tcpBeLiberal: false,
  udpSeconds: 0,
  udpStreamSeconds: 0,
}

const mostConnections = 1_048_576
/** The kernel keeps times in ticks, of which it has up to 1000 a second, in 31 bits. */
const mostSeconds = Math.floor((2 ** 31 - 1) / 1000)
const hashSizeFile = '/sys/module/nf_conntrack/parameters/hashsize'
const folder = 'net/netfilter/nf_conntrack_'

/** Room for connections; undefined: as it is. Pure. */
export function connectionLimit({ maxPerCore, min }: ConntrackSettings, cores: number): number | undefined {
  return maxPerCore > 0 ? Math.min(Math.max(maxPerCore * cores, min), mostConnections) : undefined
}

/** Kernel setting → value, for those that each network namespace has of its own. Pure. */
export function conntrackSysctls(settings: ConntrackSettings): Map<string, number> {
  const values = {
    tcp_timeout_established: settings.tcpEstablishedSeconds,
    tcp_timeout_close_wait: settings.tcpCloseWaitSeconds,
    tcp_be_liberal: settings.tcpBeLiberal ? 1 : 0,
    udp_timeout: settings.udpSeconds,
    udp_timeout_stream: settings.udpStreamSeconds,
  }
  const wanted = Object.entries(values).filter(([, value]) => value > 0)
  return new Map(wanted.map(([name, value]) => [folder + name, Math.min(value, mostSeconds)]))
}

/** Sets what differs. What the kernel refuses stays as it is: the log is told once of all of it. */
export function setConntrack(settings: ConntrackSettings, log: Logger, netns?: string): void {
  const refused: Record<string, string> = {}
  const refuse = (name: string, value: number, error: Error | undefined): void => {
    if (error) refused[name] = `${value}: ${error.message}`
  }
  const limit = connectionLimit(settings, availableParallelism())
  // One for the whole machine: other network namespaces can only read it.
  if (limit !== undefined && netns === undefined) {
    const name = `${folder}max`
    const error = setSysctl(name, limit)
    refuse(name, limit, error)
    if (!error) refuse(hashSizeFile, Math.floor(limit / 4), growHash(Math.floor(limit / 4)))
  }
  for (const [name, value] of conntrackSysctls(settings)) refuse(name, value, setSysctl(name, value, netns))
  if (Object.keys(refused).length > 0)
    log.warn({ refused }, 'the kernel refused settings of connection tracking: the proxy goes on without')
}

/** Buckets of the table: never fewer than there are. */
function growHash(buckets: number): Error | undefined {
  try {
    if (Number(readFileSync(hashSizeFile, 'utf8')) < buckets) writeFileSync(hashSizeFile, String(buckets))
    return undefined
  } catch (error) {
    return error as Error
  }
}
