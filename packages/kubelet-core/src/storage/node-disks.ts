// Disks of this node that pods have: attached and mounted once, as long as a pod has them.
import { mkdir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { holdDevice, letGoOfDevice, linkDevice } from '@nodelet/csi-node'
import { type MountInfo, mountSlowly, readMountInfo, unmountSlowly } from '@nodelet/linux'
import type { Logger } from '../log.ts'
import { createTurns } from '../serial.ts'
import { podFolders } from '../volume/folders.ts'
import { namesIn, removeEmpty } from '../volume/mounts.ts'
import { mountAt } from './bind.ts'
import { diskKindsIn, type DiskFolder, type DiskKind } from './disk-kinds.ts'
import { formatAndMount } from './format.ts'
import { iscsiFile } from './scsi/iscsi.ts'

/** A disk that a volume is. */
export interface NodeDisk {
  /** Where it is kept, below `plugins/kubernetes.io`; what is there already is taken as it is. */
  folder: string
  /** As node.status.volumesInUse names it; undefined: nobody attaches it. */
  attachName?: string | undefined
  /**
   * Finds the device, and makes it be there. Safe to run again.
   * @param folder absolute @returns its path in `/dev`
   */
  attach(folder: string, signal: AbortSignal): Promise<string>
  /** Of a disk with files; empty: as it has, else ext4. */
  fsType: string
  readOnly: boolean
  mountOptions: readonly string[]
}

export interface NodeDisks {
  /**
   * Mounts the disk unless it is, and does work while it stays so. Safe to run again, and after a kill at any step.
   * @param work is given where it is mounted, and has it mounted for a pod
   * @throws DeviceMountError, LinuxError, Error; what `attach` and `work` throw
   */
  use<T>(disk: NodeDisk, work: (path: string) => Promise<T>, signal?: AbortSignal): Promise<T>
  /**
   * Holds the device of the disk for a pod.
   * @param link in the pod's folder: as long as it is there, the pod has the device
   * @returns its path in `/dev`
   */
  map(disk: NodeDisk, pod: { podUid: string; link: string }, signal?: AbortSignal): Promise<string>
  /**
   * Lets go of what no pod has, by what is really mounted.
   * @param folders of disks, as they have them: of no others; default: of all
   * @throws an error of one that stays, after all were tried
   */
  releaseUnused(folders?: ReadonlySet<string>): Promise<void>
  /** Learns of what was attached before this process. */
  find(): Promise<void>
  /** Disks that are or may be attached, as node.status.volumesInUse names them. */
  inUse(): string[]
}

interface Found extends DiskFolder {
  kind: DiskKind
}

/** @param rootDir the kubelet's folder, without symlinks */
export function createNodeDisks(rootDir: string, log: Logger): NodeDisks {
  const top = join(rootDir, 'plugins/kubernetes.io')
  const kinds = diskKindsIn(top, log)
  const turns = createTurns()
  /** Folder → how often it is in work: what waits for a network keeps nobody else. */
  const busy = new Map<string, number>()
  /** Folder → name of what is attached. */
  const attached = new Map<string, string>()

  const inTurn = async <T>(
    disk: NodeDisk,
    signal: AbortSignal | undefined,
    work: (path: string, device: string) => Promise<T>,
  ): Promise<T> => {
    const path = join(top, disk.folder)
    busy.set(path, (busy.get(path) ?? 0) + 1)
    if (disk.attachName !== undefined) attached.set(path, disk.attachName)
    try {
      return await turns.take([path], async () => {
        signal?.throwIfAborted()
        return work(path, await disk.attach(path, signal ?? new AbortController().signal))
      })
    } finally {
      const left = (busy.get(path) ?? 1) - 1
      if (left > 0) busy.set(path, left)
      else busy.delete(path)
    }
  }

  const release = async ({ kind, path, isMap }: Found): Promise<void> => {
    if (!(isMap ? await letGoOfMaps(path, kind.plugin, rootDir) : await unmountUnused(path, rootDir))) return
    await kind.detach(path)
    await removeEmpty(path) // what is not mounted and has files stays
    attached.delete(path)
  }

  const all = async (): Promise<Found[]> =>
    (await Promise.all(kinds.map(async (kind) => (await kind.folders()).map((one) => ({ kind, ...one }))))).flat()

  return {
    use: async (disk, work, signal) =>
      inTurn(disk, signal, async (path, device) => {
        await ensureMounted(disk, device, path, log)
        return work(path)
      }),
    map: async (disk, { podUid, link }, signal) =>
      inTurn(disk, signal, async (path, device) => {
        await mkdir(path, { recursive: true, mode: 0o750 })
        // The link first: by it the pod is known to have the device, whatever happens from here on.
        await linkDevice(rootDir, link, device)
        await holdDevice(device, join(path, podUid), disk.readOnly)
        return device
      }),
    async releaseUnused(folders) {
      const isWanted = (path: string): boolean => !folders || folders.has(relative(top, path))
      const found = (await all()).filter(({ path }) => isWanted(path))
      const idle = found.filter(({ path }) => !busy.has(path))
      // Of one that was never come to there is no folder.
      const there = new Set(found.map(({ path }) => path))
      for (const path of attached.keys())
        if (isWanted(path) && !there.has(path) && !busy.has(path)) attached.delete(path)
      const results = await Promise.allSettled(
        idle.map(async (one) => turns.take([one.path], async () => release(one))),
      )
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) throw failed.reason
    },
    async find() {
      for (const { kind, path } of await all()) {
        const name = await kind.nameOf(path)
        if (name !== undefined) attached.set(path, name)
      }
    },
    inUse: () => [...new Set(attached.values())],
  }
}

/** @returns whether nothing is mounted there any more */
async function unmountUnused(path: string, rootDir: string): Promise<boolean> {
  for (let mount = await mountAt(path); mount; mount = await mountAt(path)) {
    if (await isUsed(mount, rootDir)) return false
    if (!(await unmountSlowly(path))) throw new Error(`${path} is mounted, but cannot be unmounted from here`)
  }
  return true
}

/** @returns whether no pod has the device any more */
async function letGoOfMaps(path: string, plugin: string, rootDir: string): Promise<boolean> {
  let isFree = true
  for (const podUid of (await namesIn(path)).filter((name) => name !== iscsiFile)) {
    const links = join(podFolders(rootDir, podUid).devices, plugin)
    if ((await namesIn(links)).length === 0) await letGoOfDevice(join(path, podUid))
    else isFree = false
  }
  return isFree
}

async function ensureMounted(disk: NodeDisk, device: string, target: string, log: Logger): Promise<void> {
  const { fsType, readOnly, mountOptions } = disk
  const mount = await mountAt(target)
  if (!mount) {
    await mkdir(target, { recursive: true, mode: 0o750 })
    const options = [...mountOptions, ...(readOnly ? ['ro'] : [])]
    try {
      await formatAndMount({ device, target, fsType, options, log })
    } catch (error) {
      // That of one that is attached says so until it is not.
      if (disk.attachName === undefined) await removeEmpty(target)
      throw error
    }
    return
  }
  if (!(await isOf(mount, device))) throw new Error(`${target} is mounted, and not from ${device}`)
  if (readOnly || !mount.superOptions.includes('ro')) return
  // It was mounted for a pod that only reads, whose own bind stays read-only.
  await mountSlowly({ source: device, target, options: [...mountOptions, 'remount'] })
}

async function isOf({ major, minor }: MountInfo, device: string): Promise<boolean> {
  const { rdev } = await stat(device)
  return major === ((rdev >> 8) & 0xfff) && minor === ((rdev & 0xff) | ((rdev >> 12) & 0xfff00))
}

/** Whether a pod has it, or a part of it. */
async function isUsed(mount: MountInfo, rootDir: string): Promise<boolean> {
  const pods = join(rootDir, 'pods')
  const mounts = await readMountInfo('self', { below: pods })
  return mounts.some(({ major, minor }) => major === mount.major && minor === mount.minor)
}
