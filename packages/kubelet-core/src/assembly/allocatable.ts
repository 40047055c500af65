// What pods together may use, and what is reserved for the system: made so in cgroups, and told.
import type { Cgroups } from '@nodelet/linux'
import type { KubeletConfiguration } from '../configuration/types.ts'
import type { EventRecorder } from '../events.ts'
import type { MachineFacts } from '../node/facts.ts'
import { parseMilliQuantity } from '../quantity.ts'
import type { CgroupDriver } from '../resource/cgroup-driver.ts'
import { reservedOf } from '../resource/reserved.ts'
import { enforceReserved } from './reserved-cgroups.ts'

export interface AllocatableParts {
  configuration: KubeletConfiguration
  machine: Pick<MachineFacts, 'memoryBytes'>
  allocatable: Readonly<Record<string, string>>
  cgroups: Pick<CgroupDriver, 'start'>
  cgroupFiles: Pick<Cgroups, 'exists' | 'update'>
  events: Pick<EventRecorder, 'recordNode'>
}

/** KubeletConfiguration `enforceNodeAllocatable`. @throws Error when a limit cannot be set: an event says so, too */
export async function enforceAllocatable(parts: AllocatableParts): Promise<void> {
  const { configuration, machine, allocatable, cgroups, cgroupFiles, events } = parts
  const done = (message: string): void =>
    events.recordNode({ type: 'Normal', reason: 'NodeAllocatableEnforced', message })
  const isEnforced = configuration.enforceNodeAllocatable.includes('pods')
  try {
    await cgroups.start({
      milliCpu: parseMilliQuantity(allocatable['cpu'] ?? '0'),
      memoryBytes: isEnforced ? machine.memoryBytes - reservedOf(configuration, 'memory') / 1000n : undefined,
    })
    if (isEnforced) done('Updated Node Allocatable limit across pods')
    for (const message of await enforceReserved(cgroupFiles, configuration)) done(message)
  } catch (error) {
    const message = `Failed to update Node Allocatable Limits: ${(error as Error).message}`
    events.recordNode({ type: 'Warning', reason: 'FailedNodeAllocatableEnforcement', message })
    throw error
  }
}
