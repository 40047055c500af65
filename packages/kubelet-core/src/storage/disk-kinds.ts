// The kinds of disks that this node mounts once for all pods: where each kind is kept, and how one goes.
import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { unmount } from '@nodelet/linux'
import type { Logger } from '../log.ts'
import { namesIn, removeEmpty } from '../volume/mounts.ts'
import { mountAt } from './bind.ts'
import { detachFc } from './scsi/fc.ts'
import { detachIscsi, iscsiFile, iscsiIn } from './scsi/iscsi.ts'
import { attachNameOf, fcOfFolder, type IscsiTarget, type ScsiTarget } from './scsi/target.ts'

/** Where a disk is kept. */
export interface DiskFolder {
  /** Absolute. */
  path: string
  /** Pods have the device, and no files of it. */
  isMap: boolean
}

/** A kind of disks: where they are kept, and how they go. */
export interface DiskKind {
  /** As the folders of pods name it, for instance `kubernetes.io~fc`. */
  plugin: string
  folders(): Promise<DiskFolder[]>
  /** Of one that nothing is mounted from any more. Safe to run again. */
  detach(folder: string): Promise<void>
  nameOf(folder: string): Promise<string | undefined>
}

const devices = 'volumeDevices'

/** @param top `plugins/kubernetes.io` of the kubelet's folder */
export function diskKindsIn(top: string, log: Logger): DiskKind[] {
  return [
    {
      plugin: 'kubernetes.io~local-volume',
      folders: async () => (await entriesOf(join(top, 'local-volume/mounts'))).map(filesAt),
      detach: async () => {},
      nameOf: async () => undefined,
    },
    {
      plugin: 'kubernetes.io~iscsi',
      folders: async () => iscsiFolders(top),
      async detach(path) {
        const target = await iscsiIn(path)
        const others = async (): Promise<IscsiTarget[]> =>
          iscsiTargets((await iscsiFolders(top)).filter((one) => one.path !== path))
        if (target) await detachIscsi(target, others, log)
        await rm(join(path, iscsiFile), { force: true })
        await removeEmpty(path)
        await removeIfEmpty(dirname(path))
      },
      async nameOf(path) {
        const target = await iscsiIn(path)
        return target && attachNameOf(target)
      },
    },
    {
      plugin: 'kubernetes.io~fc',
      folders: async () => fcFolders(top),
      detach: async (path) => detachFc(fcOfFolder(basename(path)), log),
      nameOf: async (path) => attachNameOf(fcOfFolder(basename(path))),
    },
  ]
}

const filesAt = (path: string): DiskFolder => ({ path, isMap: false })
const mapAt = (path: string): DiskFolder => ({ path, isMap: true })

const entriesOf = async (...folders: string[]): Promise<string[]> =>
  (await Promise.all(folders.map(async (folder) => (await namesIn(folder)).map((name) => join(folder, name))))).flat()

async function iscsiFolders(top: string): Promise<DiskFolder[]> {
  const ofWays = async (folder: string): Promise<string[]> =>
    entriesOf(...(await entriesOf(folder)).filter((path) => basename(path).startsWith('iface-')))
  return [...(await ofWays(join(top, 'iscsi'))).map(filesAt), ...(await ofWays(join(top, 'iscsi', devices))).map(mapAt)]
}

async function fcFolders(top: string): Promise<DiskFolder[]> {
  const files = (await entriesOf(join(top, 'fc'))).filter((path) => basename(path) !== devices)
  return [...files.map(filesAt), ...(await entriesOf(join(top, 'fc', devices))).map(mapAt)]
}

const iscsiTargets = async (folders: readonly DiskFolder[]): Promise<IscsiTarget[]> =>
  (await Promise.all(folders.map(async ({ path }) => iscsiIn(path)))).flatMap((target) => target ?? [])

async function removeIfEmpty(path: string): Promise<void> {
  if ((await namesIn(path)).length === 0) await removeEmpty(path)
}

/**
 * What volumes below a kubelet's folder have attached, for one who takes the folder away: it is mounted in pods at most.
 * @returns what has the kernel forget the disks, and logs out of their targets, once nothing is mounted from them: those that somebody
 * still has stay, and are told of
 */
export async function attachedDisks(rootDir: string, log: Logger): Promise<() => Promise<void>> {
  const top = join(rootDir, 'plugins/kubernetes.io')
  const folders = await iscsiFolders(top)
  // What they are is written below.
  for (const { path } of folders) while (await mountAt(path)) unmount(path, { detach: true })
  const targets = await iscsiTargets(folders)
  const ofFc = (await fcFolders(top)).map(({ path }) => fcOfFolder(basename(path)))
  return async () => {
    const left = new Set(targets)
    for (const target of targets) {
      left.delete(target)
      await attempt(
        detachIscsi(target, async () => [...left], log),
        target,
      )
    }
    for (const target of ofFc) await attempt(detachFc(target, log), target)
  }
  async function attempt(work: Promise<void>, target: ScsiTarget): Promise<void> {
    await work.catch((err: unknown) => log.warn({ err, disk: attachNameOf(target) }, 'a disk stays attached'))
  }
}
