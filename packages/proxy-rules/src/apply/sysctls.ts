// Kernel settings that the rules rely on. A refusal is told and does not stop the proxy.
import { readFileSync, writeFileSync } from 'node:fs'
import type { Logger } from '../log.ts'
import { inNetns } from './program.ts'

/** A setting's value, for instance of `net/ipv4/conf/all/route_localnet`; undefined when the kernel has none of that name. */
export function readSysctl(name: string, netns?: string): string | undefined {
  try {
    return inNetns(netns, () => readFileSync(`/proc/sys/${name}`, 'utf8')).trim()
  } catch {
    // Not in this kernel, or not in this network namespace.
    return undefined
  }
}

/** Sets what differs. @returns why the kernel refused; undefined when it is so now */
export function setSysctl(name: string, value: number, netns?: string): Error | undefined {
  if (readSysctl(name, netns) === String(value)) return undefined
  try {
    inNetns(netns, () => writeFileSync(`/proc/sys/${name}`, String(value)))
    return undefined
  } catch (error) {
    return error as Error
  }
}

/** Sets what differs; says whether it is so now. */
export function writeSysctl(name: string, value: number, log: Logger, netns?: string): boolean {
  const error = setSysctl(name, value, netns)
  if (error) log.warn({ err: error, sysctl: name, value }, 'the kernel refused a setting: the proxy goes on without')
  return error === undefined
}
