// Who makes cgroups: the runtime says it, and the configuration only where the runtime does not.
import { CgroupDriver, isUnimplemented, type RuntimeService } from '@nodelet/cri-api'
import type { KubeletConfiguration } from '../configuration/types.ts'

/** @throws Error when it is systemd: this kubelet makes cgroups by files */
export async function checkCgroupDriver(
  runtime: Pick<RuntimeService, 'runtimeConfig'>,
  { cgroupDriver }: Pick<KubeletConfiguration, 'cgroupDriver'>,
): Promise<void> {
  const told = await driverOf(runtime)
  if ((told ?? cgroupDriver) !== 'systemd') return
  const [who, how] = told
    ? ['the runtime', 'set cgroupfs in the configuration of the runtime']
    : ['cgroupDriver', 'set cgroupfs there and in the runtime']
  throw new Error(`${who} says "systemd": this kubelet makes cgroups by files, not by systemd: ${how}`)
}

async function driverOf(
  runtime: Pick<RuntimeService, 'runtimeConfig'>,
): Promise<KubeletConfiguration['cgroupDriver'] | undefined> {
  try {
    const { linux } = await runtime.runtimeConfig({})
    return linux && (linux.cgroupDriver === CgroupDriver.SYSTEMD ? 'systemd' : 'cgroupfs')
  } catch (error) {
    if (isUnimplemented(error)) return undefined
    throw error
  }
}
