// Kernel settings that the rules rely on. A refusal is told and does not stop the proxy.
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { Logger } from '../log.ts'
import { inNetns } from './program.ts'

const establishedSeconds = 24 * 60 * 60
const closeWaitSeconds = 60 * 60
const flowsPerCore = 32_768
const fewestFlows = 131_072
const mostFlows = 1_048_576

/** A setting's value, for instance of `net/ipv4/conf/all/route_localnet`; undefined when the kernel has none of that name. */
export function readSysctl(name: string, netns?: string): string | undefined {
  try {
    return inNetns(netns, () => readFileSync(`/proc/sys/${name}`, 'utf8')).trim()
  } catch {
    // Not in this kernel, or not in this network namespace.
    return undefined
  }
}

/** Sets what differs; says whether it is so now. */
export function writeSysctl(name: string, value: number, log: Logger, netns?: string): boolean {
  if (readSysctl(name, netns) === String(value)) return true
  try {
    inNetns(netns, () => writeFileSync(`/proc/sys/${name}`, String(value)))
    return true
  } catch (error) {
    log.warn({ err: error, sysctl: name, value }, 'the kernel refused a setting: the proxy goes on without')
    return false
  }
}

/** Tracked connections: room for as many as upstream makes, never less than there is; and its time limits. */
export function setConntrack(log: Logger, netns?: string): void {
  const folder = 'net/netfilter'
  writeSysctl(`${folder}/nf_conntrack_tcp_timeout_established`, establishedSeconds, log, netns)
  writeSysctl(`${folder}/nf_conntrack_tcp_timeout_close_wait`, closeWaitSeconds, log, netns)
  // One for the whole machine: other network namespaces can only read it.
  if (netns !== undefined) return
  const wanted = Math.min(Math.max(flowsPerCore * availableParallelism(), fewestFlows), mostFlows)
  const present = Number(readSysctl(`${folder}/nf_conntrack_max`) ?? Infinity)
  if (present < wanted) writeSysctl(`${folder}/nf_conntrack_max`, wanted, log)
}
