// What the node's disks ask of each kind of network that disks come from.
import { diskAt, isInUse } from '@nodelet/csi-node'
import { runApart } from '../apart.ts'
import type { Logger } from '../../log.ts'
import { forgetDisk, multipathOf } from './sysfs.ts'

/** How long multipath may take to let go of a device, in milliseconds. */
const flushMs = 60_000

/** @throws Error when somebody has one of the disks, mounted or in a larger device */
export async function refuseUsed(disks: readonly string[]): Promise<void> {
  for (const name of disks) {
    if (await isUsed(name))
      throw new Error(`the device /dev/${name} is in use when it was no longer expected to be in use`)
  }
}

/** Whether somebody has the disk to himself, or what multipathd has made of it. */
export async function isUsed(name: string): Promise<boolean> {
  const device = await diskAt(`/dev/${(await multipathOf(name)) ?? name}`)
  return device !== undefined && isInUse(device)
}

/** The kernel forgets disks, and what multipathd has made of them. Nobody may have them any more. */
export async function forgetDisks(disks: readonly string[], log: Logger): Promise<void> {
  const made = new Set((await Promise.all(disks.map(multipathOf))).flatMap((name) => name ?? []))
  for (const name of made) {
    await runApart('multipath', ['-f', `/dev/${name}`], { timeoutMs: flushMs }).catch((err: unknown) => {
      log.warn({ err, device: name }, 'multipath did not let go of a device: its paths go all the same')
    })
  }
  for (const name of disks) await forgetDisk(name)
}
