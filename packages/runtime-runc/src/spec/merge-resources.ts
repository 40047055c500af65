// New limits laid over those that a container has. Pure.
import { LinuxContainerResources } from '@nodelet/cri-api'

/**
 * The limits with those of the change that are not zero; of `unified` by key. What an OCI runtime gives only at the
 * start stays: the OOM score and the limits of huge pages.
 */
export function mergeResources(
  before: LinuxContainerResources | undefined,
  change: LinuxContainerResources,
): LinuxContainerResources {
  const { unified, hugepageLimits: _pages, oomScoreAdj: _score, ...others } = change
  const set = Object.fromEntries(Object.entries(others).filter(([, value]) => Boolean(value)))
  const merged = LinuxContainerResources.fromPartial({
    ...before,
    ...set,
    unified: { ...before?.unified, ...unified },
  })
  return { ...merged, memorySwapLimitInBytes: swapOf(merged, change) }
}

/** It counts memory and swap together: an older one that is below the new limit of memory then means no swap. */
function swapOf(merged: LinuxContainerResources, change: LinuxContainerResources): bigint {
  const { memoryLimitInBytes: limit, memorySwapLimitInBytes: swap } = merged
  const isOld = change.memorySwapLimitInBytes === 0n && swap > 0n
  if (isOld && limit < 0n) return -1n
  return isOld && swap < limit ? limit : swap
}
