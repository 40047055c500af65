// What the machine must be before a kubelet begins.
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import type { EventRecorder } from '../events.ts'
import type { MachineFacts } from '../node/facts.ts'
import { checkKernelSettings } from './kernel-settings.ts'
import { checkResolver } from './resolver.ts'

export interface PreflightFacts {
  configuration: KubeletConfiguration
  machine: Pick<MachineFacts, 'swapBytes'>
  cgroupVersion: 1 | 2
  events: Pick<EventRecorder, 'recordNode'>
}

/** What is only not as it should be is an event of the node. @throws Error saying what to change */
export async function checkMachine({ configuration, machine, cgroupVersion, events }: PreflightFacts): Promise<void> {
  if (configuration.failSwapOn && machine.swapBytes > 0n) {
    throw new Error(
      'running with swap on is not supported, please disable swap or set failSwapOn of the KubeletConfiguration to false',
    )
  }
  if (cgroupVersion === 1) {
    if (configuration.failCgroupV1) throw new Error('this machine has cgroups v1, and failCgroupV1 is true')
    const message = 'cgroup v1 support is deprecated, please migrate to cgroup v2'
    events.recordNode({ type: 'Warning', reason: 'CgroupV1', message })
  }
  if (configuration.protectKernelDefaults) await checkKernelSettings()
  await checkResolver(configuration.resolvConf, events)
}
