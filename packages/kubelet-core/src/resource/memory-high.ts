// From how much memory on a container is slowed down instead of killed: `memory.high` of cgroup v2. Pure.
import type { Container } from 'kubernetes-types/core/v1.d.ts'
import { parseQuantity } from '../quantity.ts'

/** Of a node with the gate MemoryQoS. */
export interface Throttling {
  /** KubeletConfiguration `memoryThrottlingFactor`: this part of what may be had beyond the request. */
  factor: number
  /** What a container without a limit may have, and the size of a page, in bytes. */
  allocatableBytes: bigint
  pageBytes: number
}

/** Whole pages, in bytes; undefined for one that asks for all that it may have. */
export function memoryHigh({ resources }: Container, throttling: Throttling): bigint | undefined {
  const { factor, allocatableBytes, pageBytes } = throttling
  const limit = parseQuantity(resources?.limits?.['memory'] ?? '0', 'limits.memory')
  const asked = resources?.requests?.['memory']
  const request = asked === undefined ? limit : parseQuantity(asked, 'requests.memory')
  if (limit > 0n && request === limit) return undefined
  const beyond = (limit > 0n ? limit : allocatableBytes) - request
  const bytes = request + BigInt(Math.floor(factor * Number(beyond)))
  const high = bytes - (bytes % BigInt(pageBytes))
  return high > request ? high : undefined
}
