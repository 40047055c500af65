// Routes of the two ends: the pod sends all to the gateway, the machine has one address of the pod behind each link.
import { LinuxError } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import type { Point } from './plan.ts'

/** Pods of the subnet are no neighbours: the kernel's own route to it is replaced. */
export async function routePodEnd({ routes }: Netlink, link: number, points: readonly Point[]): Promise<void> {
  for (const { source, gateway, machine, subnet } of points) {
    if (subnet !== undefined)
      await routes.delete({ destination: subnet, link, protocol: 'kernel', scope: scopeOf(subnet) })
    await routes.add({ destination: machine, link, scope: 'link', source })
    if (subnet !== undefined) await routes.add({ destination: subnet, link, gateway, source })
  }
}

/** IPv6 knows no scopes of routes. */
const scopeOf = (destination: string): 'link' | 'global' => (familyOf(destination) === 6 ? 'global' : 'link')

export async function routeMachineEnd(
  { addresses, routes }: Netlink,
  link: number,
  points: readonly Point[],
): Promise<void> {
  for (const { pod, machine } of points) {
    // All pods' links have it: there is nobody to ask whether it is free.
    await addresses.add(link, { address: machine, ...(familyOf(machine) === 6 && { flags: { noDad: true } }) })
    try {
      await routes.add({ destination: pod, link, scope: 'host' })
    } catch (error) {
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error
    }
  }
}

/** @param link the machine's end. @throws CniError naming what is missing */
export async function checkMachineEnd(
  { routes }: Netlink,
  link: number | undefined,
  points: readonly Point[],
): Promise<void> {
  const present = await routes.list()
  const lost = points.find(
    ({ pod }) => !present.some(({ destination, index }) => destination === pod && index === link),
  )
  if (lost) throw new CniError(cniCode.internal, `ptp: this machine has no route to ${lost.pod}`)
}
