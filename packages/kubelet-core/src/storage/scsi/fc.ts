// Disks of Fibre Channel networks: adapters bring them, udev names them, and the node picks one by its name.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '../../log.ts'
import { forgetDisks, refuseUsed } from './kind.ts'
import { linkedDisk, multipathOf, namesIn, pathsOf, scanAll } from './sysfs.ts'
import type { FcTarget } from './target.ts'

/** Where udev links disks by how they are reached, and by what they are. */
export interface FcLinks {
  byPath: string
  byId: string
}

export const usualLinks: FcLinks = { byPath: '/dev/disk/by-path', byId: '/dev/disk/by-id' }

/** Finds the disk, after a look at all adapters when nothing of it is there. @returns its path in `/dev` @throws Error in the words of the Go kubelet */
export async function attachFc(target: FcTarget, folder: string, links: FcLinks = usualLinks): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o750 })
  const find = async (): Promise<{ disk: string | undefined; whole: string | undefined }> => {
    const disks = await fcDisks(target, links)
    for (const disk of disks) {
      const whole = await multipathOf(disk)
      if (whole !== undefined) return { disk, whole }
    }
    return { disk: disks.at(-1), whole: undefined }
  }
  let { disk, whole } = await find()
  if (whole === undefined) {
    await scanAll()
    ;({ disk, whole } = await find())
  }
  const name = whole ?? disk
  if (name === undefined) throw new Error('no fc disk found')
  return `/dev/${name}`
}

/** Names in `/dev` of the disk, one for each way to it that is there. */
async function fcDisks({ wwns, lun, wwids }: FcTarget, { byPath, byId }: FcLinks): Promise<string[]> {
  const paths = await namesIn(byPath)
  const ofPorts = wwns.flatMap((wwn) => {
    const end = `fc-0x${wwn}-lun-${lun}`
    return paths.filter((name) => name === end || (name.startsWith('pci-') && name.endsWith(`-${end}`)))
  })
  const wanted = [...ofPorts.map((name) => join(byPath, name)), ...wwids.map((wwid) => join(byId, `scsi-${wwid}`))]
  const found = await Promise.all(wanted.map(linkedDisk))
  return [...new Set(found.flatMap((name) => name ?? []))]
}

/** Has the kernel forget the disk that nothing is mounted from any more. Safe to run again. @throws Error: somebody still has it */
export async function detachFc(target: FcTarget, log: Logger, links: FcLinks = usualLinks): Promise<void> {
  const found = await fcDisks(target, links)
  const ways = await Promise.all(
    found.map(async (disk) => {
      const whole = disk.startsWith('dm-') ? disk : await multipathOf(disk)
      return whole === undefined ? [disk] : pathsOf(whole)
    }),
  )
  const disks = [...new Set(ways.flat())]
  await refuseUsed(disks)
  await forgetDisks(disks, log)
}
