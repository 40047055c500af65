import { readFileSync } from 'node:fs'

/** Whether this process may have ext4 grow while it is mounted: CAP_SYS_RESOURCE. */
export function maySetResources(): boolean {
  const [, effective = '0'] = /^CapEff:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n
}
