// Sysctls of a network namespace: /proc/sys/net shows that of the calling thread.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { inNamespace } from '@nodelet/linux'

/** @param netns whose; absent: this process's. @param name such as `net/ipv4/ip_forward` */
export function setSysctl(netns: string | undefined, name: string, value: string): void {
  const path = `/proc/sys/${name}`
  const write = (): void => {
    if (existsSync(path) && readFileSync(path, 'utf8').trim() !== value) writeFileSync(path, value)
  }
  if (netns === undefined) write()
  else inNamespace('net', netns, write)
}
