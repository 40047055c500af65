// How much swap a container may use. Pure.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { isCritical } from '../admission/critical.ts'
import { parseQuantity } from '../quantity.ts'
import { qosClass } from './qos.ts'

/** What of the node decides about swap, where the kernel can limit it. A node without swap limits it as well. */
export interface SwapFacts {
  /** KubeletConfiguration `memorySwap.swapBehavior`; empty is NoSwap. */
  behavior: '' | 'NoSwap' | 'LimitedSwap'
  /** Bytes of swap, and of memory. */
  swapBytes: bigint
  memoryBytes: bigint
}

/** The part of CRI `LinuxContainerResources` that swap decides. */
export interface SwapValues {
  /** cgroup v2. */
  unified?: { 'memory.swap.max': string }
  /** cgroup v1: memory and swap together. */
  memorySwapLimitInBytes?: bigint
}

/** With LimitedSwap, Burstable pods get swap in the proportion in which they ask for memory; all others get none. */
export function swapValues(pod: Pod, container: Container, facts: SwapFacts, cgroupVersion: 1 | 2): SwapValues {
  const limit = parseQuantity(container.resources?.limits?.['memory'] ?? '0', 'limits.memory')
  if (cgroupVersion === 1) return limit > 0n ? { memorySwapLimitInBytes: limit } : {}
  return { unified: { 'memory.swap.max': String(limitedSwap(pod, container, limit, facts)) } }
}

function limitedSwap(pod: Pod, { resources }: Container, limit: bigint, facts: SwapFacts): bigint {
  const { behavior, swapBytes, memoryBytes } = facts
  if (behavior !== 'LimitedSwap' || qosClass(pod) !== 'Burstable' || isCritical(pod)) return 0n
  const request = parseQuantity(resources?.requests?.['memory'] ?? '0', 'requests.memory')
  if (request === 0n || request === limit) return 0n
  return (request * swapBytes) / memoryBytes
}
