// host-device: a device of this machine that is the pod's alone.
import { openNetlink } from '@nodelet/linux'
import { address, checkAttached } from '../../interface/attach.ts'
import { byIpam, checkLease, lease, release } from '../../interface/ipam.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult, Host } from '../../types.ts'
import { deviceOf, parseHostDevice } from './config.ts'
import type { DeviceName, HostDeviceConfig } from './config.ts'
import { findDevice, isOfProgram } from './find.ts'
import { moveIn, moveOut } from './move.ts'

type Call = PluginCall<HostDeviceConfig>

/** @param sysfs where sysfs is mounted */
export function createHostDevice(sysfs: string = '/sys'): DefinedPlugin {
  return definePlugin<HostDeviceConfig>({
    name: 'host-device',
    config: parseHostDevice,
    async add(call, host, signal) {
      const device = deviceOf(call.config)
      if (await isOfProgram(device, sysfs)) return addressesOnly(call, host, signal)
      using outside = openNetlink({ netns: host.netns })
      using inside = openNetlink({ netns: call.network.netns })
      const found = await findDevice(outside, device, sysfs)
      const link = await moveIn(host, outside, inside, found, call.network)
      return await address(call, host, signal, { inside, link, away: async () => giveBack(call, host) })
    },

    async del(call, host, signal) {
      const isMoved = !(await isOfProgram(call.config.device, sysfs))
      // The address is given back whatever comes of the device, and of the namespace.
      const [moved] = await Promise.allSettled([isMoved ? giveBack(call, host) : undefined])
      await release(call, host, signal)
      if (moved.status === 'rejected') throw moved.reason
    },

    async check(call, host, signal) {
      if (await isOfProgram(call.config.device, sysfs)) await checkLease(call, host, signal)
      else await checkAttached(call, host, signal)
    },
    // A device that a pod has is not this machine's: STATUS cannot tell that from one that is missing.
    ...byIpam,
  })
}

export const hostDevice: DefinedPlugin = createHostDevice()

const giveBack = async ({ config, network }: Call, host: Host): Promise<void> =>
  moveOut(host, network, nameOf(config.device))

const nameOf = (device: DeviceName | undefined): string | undefined =>
  device?.by === 'name' ? device.value : undefined

/** For the program that works the device: there is no link to give them to. */
async function addressesOnly(call: Call, host: Host, signal: AbortSignal): Promise<CniResult> {
  const { config, cniVersion } = call
  const dns = config.dns ?? {}
  if (!config.ipam) return { cniVersion, interfaces: [], ips: [], routes: [], dns }
  try {
    return { ...(await lease(call, host, signal)), cniVersion, interfaces: [], dns }
  } catch (error) {
    await release(call, host, signal)
    throw error
  }
}
