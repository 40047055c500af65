// Finds the device that a configuration names.
import { readdir, readlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Link, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import type { DeviceName } from './config.ts'

/** Drivers that hand a device to a program: it has no link. */
const userspaceDrivers = ['vfio-pci', 'uio_pci_generic', 'igb_uio']

/** Whether it is worked by a program (DPDK) and not by the kernel. @param sysfs where sysfs is mounted */
export async function isOfProgram(device: DeviceName | undefined, sysfs: string): Promise<boolean> {
  if (device?.by !== 'bus ID') return false
  const driver = await readlink(join(sysfs, 'bus/pci/devices', device.value, 'driver')).catch(() => '')
  return userspaceDrivers.includes(basename(driver))
}

/** @param outside opened in the machine's namespace. @throws CniError naming what is not there */
export async function findDevice({ links }: Netlink, device: DeviceName, sysfs: string): Promise<Link> {
  const found = await find(links, device, sysfs)
  if (found) return found
  throw new CniError(cniCode.internal, `failed to find host device: no link has the ${device.by} "${device.value}"`)
}

async function find(links: Netlink['links'], { by, value }: DeviceName, sysfs: string): Promise<Link | undefined> {
  switch (by) {
    case 'name':
      return links.get(value)
    case 'MAC':
      return (await links.list()).find(({ mac }) => mac === value)
    case 'kernel path':
      return firstOf(links, join(sysfs, value.slice('/sys'.length), 'net'))
    case 'bus ID':
      return firstOf(links, ...(await foldersOf(value, sysfs)))
    default:
      return by satisfies never
  }
}

/** Where the links of a device of a bus are: virtio has a bus of its own between. */
async function foldersOf(id: string, sysfs: string): Promise<string[]> {
  const pci = join(sysfs, 'bus/pci/devices', id)
  const virtio = (await entriesOf(pci)).filter((name) => name.startsWith('virtio'))
  return [pci, ...virtio.map((name) => join(pci, name)), join(sysfs, 'bus/auxiliary/devices', id)].map((folder) =>
    join(folder, 'net'),
  )
}

async function firstOf(links: Netlink['links'], ...folders: readonly string[]): Promise<Link | undefined> {
  for (const folder of folders) {
    for (const name of await entriesOf(folder)) {
      const link = await links.get(name)
      if (link) return link
    }
  }
  return undefined
}

/** Sorted; none where there is no such folder. */
async function entriesOf(folder: string): Promise<string[]> {
  const names: string[] = await readdir(folder).catch(() => [])
  return names.toSorted((one, two) => (one < two ? -1 : 1))
}
