// Who makes cgroups: the runtime says it, and the configuration only where the runtime does not.
import { CgroupDriver, isUnimplemented, type RuntimeService } from '@nodelet/cri-api'
import type { KubeletConfiguration } from '../configuration/types.ts'

/** @returns what the runtime says, or where it is silent the configuration */
export async function cgroupDriverOf(
  runtime: Pick<RuntimeService, 'runtimeConfig'>,
  { cgroupDriver }: Pick<KubeletConfiguration, 'cgroupDriver'>,
): Promise<KubeletConfiguration['cgroupDriver']> {
  return (await driverOf(runtime)) ?? cgroupDriver
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
