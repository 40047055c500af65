// host-device's part of a network's configuration.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import type { CniResult, PluginConfig } from '../../types.ts'

/** How a device is named: a kernel path is a folder of /sys/devices, a bus is PCI or the auxiliary one. */
export interface DeviceName {
  by: 'name' | 'MAC' | 'kernel path' | 'bus ID'
  value: string
}

export interface HostDeviceConfig {
  /** Absent: an ADD has nothing to work on. A DEL may come without what the runtime chose. */
  device?: DeviceName | undefined
  ipam?: { type: string } | undefined
  dns?: CniResult['dns'] | undefined
}

const busId = z
  .string()
  .regex(/^(?!\.{1,2}$)[\w.:-]*$/, 'must be an ID such as 0000:00:1f.6')
  .nullish()

const schema = z.object({
  device: common.linkName.or(z.literal('')).nullish(),
  hwaddr: z
    .string()
    .regex(/^(([0-9a-f]{2}:)+[0-9a-f]{2})?$/i, 'must be a MAC such as 02:00:00:00:00:01')
    .nullish(),
  kernelpath: z
    .string()
    .refine((path) => path === '' || (path.startsWith('/sys/devices/') && !path.split('/').includes('..')), {
      error: ({ input }) => `kernel device path ${JSON.stringify(input)} must be absolute and begin with /sys/devices/`,
    })
    .nullish(),
  pciBusID: busId,
  runtimeConfig: z.object({ deviceID: busId }).nullish(),
  ipam: common.ipam.optional(),
  dns: common.dns,
})

/** The device that the runtime chose goes before all, then the first that is given. @throws CniError naming the field */
export function parseHostDevice(config: PluginConfig): HostDeviceConfig {
  const { device, hwaddr, kernelpath, pciBusID, runtimeConfig, ipam, dns } = checked('host-device', schema, config)
  const named = (): DeviceName | undefined => {
    if (runtimeConfig?.deviceID) return { by: 'bus ID', value: runtimeConfig.deviceID }
    if (device) return { by: 'name', value: device }
    if (hwaddr) return { by: 'MAC', value: hwaddr.toLowerCase() }
    if (kernelpath) return { by: 'kernel path', value: kernelpath }
    return pciBusID ? { by: 'bus ID', value: pciBusID } : undefined
  }
  return { device: named(), ipam, dns }
}

/** @throws CniError when the configuration names none */
export function deviceOf({ device }: HostDeviceConfig): DeviceName {
  if (device) return device
  throw new CniError(cniCode.badConfig, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"')
}
