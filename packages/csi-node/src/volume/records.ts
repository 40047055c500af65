// What is staged and published on this node, from its disk: who comes after a kill finds all that has to be undone.
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { MountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Disk } from './disk.ts'
import { linkOnWay, mountAt, readMounts, removeFolders } from './mounts.ts'
import {
  blockPaths,
  csiFolder,
  escaped,
  isStagingName,
  pluginFolder,
  publishPaths,
  type StagingPaths,
  stagingPathsIn,
} from './names.ts'
import { readVolumeData, removeHalf, type VolumeData, writeVolumeData } from './volume-data.ts'

/** A staged volume, or one whose staging may have begun. */
export interface Device {
  driver: string
  volumeHandle: string
  paths: StagingPaths
  /** Whether this process has staged it; else it may be so. */
  isSure: boolean
  /** It may be in use: an error that is final does not undo it. */
  wasThere: boolean
  /** Its driver has unstaged it, and only its disk has users still: the driver may not know it any more. */
  isUnstaged?: boolean
  /** The SELinux label that it is mounted with. */
  seLinuxLabel?: string | undefined
  /** What has to be free of users before the volume counts as unstaged. */
  disk?: Disk | undefined
}

/** A volume published for a pod, or one whose publishing may have begun. */
export interface Publication {
  driver: string
  volumeHandle: string
  specName: string
  podUid: string
  lifecycle: string
  isSure: boolean
  wasThere: boolean
}

/** A block volume that is staged, and the pods that it may be published for. */
export interface BlockVolume {
  driver: string
  volumeHandle: string
  specName: string
  pods: Set<string>
  /** Those whose device is known to this process, and where it is. */
  devices: Map<string, string>
  isSure: boolean
  wasThere: boolean
  isUnstaged?: boolean
  disk?: Disk | undefined
}

export interface Records {
  /** By `volumeKey`. */
  devices: Map<string, Device>
  /** By `publicationKey`. */
  publications: Map<string, Publication>
  /** By the name of the PersistentVolume. */
  blocks: Map<string, BlockVolume>
}

export const volumeKey = (driver: string, volumeHandle: string): string => `${driver}^${volumeHandle}`
export const publicationKey = (podUid: string, specName: string): string => `${podUid}/${specName}`

/** @param rootDir without symlinks */
export async function loadRecords(rootDir: string, log: Logger): Promise<Records> {
  const mounts = await readMounts(rootDir)
  const publications = new Map<string, Publication>()
  const lost: { podUid: string; specName: string }[] = []
  for (const podUid of await foldersIn(join(rootDir, 'pods'))) {
    for (const specName of await volumesOf(rootDir, podUid, log)) {
      const data = await readVolumeData(publishPaths(rootDir, podUid, specName).data)
      if (data)
        publications.set(publicationKey(podUid, specNameOf(data, specName)), publicationOf(data, podUid, specName))
      else lost.push({ podUid, specName })
    }
  }
  const devices = await loadDevices(rootDir, [...publications.values()], log)
  for (const { podUid, specName } of lost) {
    const { target, data } = publishPaths(rootDir, podUid, specName)
    const device = deviceUnder(mounts, target, devices)
    if (!device) {
      await removeHalf(data) // the rest goes with the pod
      continue
    }
    log.warn(
      { pod: podUid, volume: specName },
      'the record of a CSI volume was lost: it is made anew from what is mounted',
    )
    const { driver: driverName, volumeHandle } = device
    const found = { driverName, volumeHandle, specVolID: specName, volumeLifecycleMode: 'Persistent' }
    await writeVolumeData(data, found)
    publications.set(publicationKey(podUid, specName), publicationOf(found, podUid, specName))
  }
  return {
    devices: new Map(devices.map((device) => [volumeKey(device.driver, device.volumeHandle), device])),
    publications,
    blocks: await loadBlocks(rootDir, log),
  }
}

/** Names of a pod's folders of CSI volumes. */
async function volumesOf(rootDir: string, podUid: string, log: Logger): Promise<string[]> {
  const folder = join(rootDir, 'pods', podUid, 'volumes', csiFolder)
  const link = await linkOnWay(rootDir, folder)
  if (link === undefined) return foldersIn(folder)
  log.warn({ pod: podUid, link }, 'a link is in the place of a folder of a pod: CSI volumes behind it are not its own')
  return []
}

/** @param folder of the volume, whose name has no `/` */
const publicationOf = (data: VolumeData, podUid: string, folder: string): Publication => ({
  driver: data.driverName,
  volumeHandle: data.volumeHandle,
  specName: specNameOf(data, folder),
  podUid,
  lifecycle: data.volumeLifecycleMode ?? 'Persistent',
  isSure: false,
  wasThere: true,
})

const specNameOf = ({ specVolID = '' }: VolumeData, folder: string): string =>
  escaped(specVolID) === folder ? specVolID : folder

async function loadDevices(rootDir: string, publications: readonly Publication[], log: Logger): Promise<Device[]> {
  const plugin = pluginFolder(rootDir)
  const devices: Device[] = []
  for (const driver of await foldersIn(plugin)) {
    if (driver === 'volumeDevices') continue
    for (const name of await foldersIn(join(plugin, driver))) {
      const paths = stagingPathsIn(join(plugin, driver, name))
      const told = await readVolumeData(paths.data)
      // `pv` is where older kubelets staged, by the name of the PersistentVolume.
      const isOwn = driver === 'pv' || (told?.driverName === driver && isStagingName(name, told.volumeHandle))
      if (told && !isOwn) log.warn({ path: paths.data, ...told }, 'the record of a staged volume names another one')
      const data = isOwn ? told : named(name, driver, publications)
      if (!data) await removeRemains(paths.data, [paths.target, paths.folder], log)
      else
        devices.push({
          driver: data.driverName,
          volumeHandle: data.volumeHandle,
          paths,
          seLinuxLabel: data.seLinuxMountContext,
          isSure: false,
          wasThere: true,
        })
    }
  }
  return devices
}

/** The volume whose staging folder has this name, when its own record was lost. */
function named(name: string, driver: string, publications: readonly Publication[]): VolumeData | undefined {
  const found = publications.find((one) => one.driver === driver && isStagingName(name, one.volumeHandle))
  return found && { driverName: driver, volumeHandle: found.volumeHandle }
}

/** The staged volume that is mounted here, too. */
function deviceUnder(mounts: readonly MountInfo[], target: string, devices: readonly Device[]): Device | undefined {
  const mount = mountAt(mounts, target)
  if (!mount) return undefined
  return devices.find(({ paths }) => {
    const staged = mountAt(mounts, paths.target)
    return staged && staged.root === mount.root && staged.major === mount.major && staged.minor === mount.minor
  })
}

async function loadBlocks(rootDir: string, log: Logger): Promise<Map<string, BlockVolume>> {
  const blocks = new Map<string, BlockVolume>()
  for (const specName of await foldersIn(join(pluginFolder(rootDir), 'volumeDevices'))) {
    if (specName === 'staging' || specName === 'publish') continue
    const paths = blockPaths(rootDir, specName)
    const data = await readVolumeData(paths.data)
    if (!data) {
      const { published, staging, devices, dataFolder, folder } = paths
      await removeRemains(paths.data, [published, staging, devices, dataFolder, folder], log)
      continue
    }
    const pods = await blockPods(rootDir, specName)
    const { driverName: driver, volumeHandle } = data
    blocks.set(specName, { driver, volumeHandle, specName, pods, devices: new Map(), isSure: false, wasThere: true })
  }
  return blocks
}

/** Pods that may have a block volume. */
export async function blockPods(rootDir: string, specName: string): Promise<Set<string>> {
  const { devices, published, folder } = blockPaths(rootDir, specName)
  const pods = new Set([...(await namesIn(devices)), ...(await namesIn(published))])
  for (const podUid of await foldersIn(join(rootDir, 'pods'))) {
    const links = await namesIn(join(rootDir, 'pods', podUid, 'volumeDevices', csiFolder))
    if (links.includes(basename(folder))) pods.add(podUid)
  }
  return pods
}

/** A volume was given up, or not begun: no driver has it, and what is in these folders is no volume's. Data and mounts stay. */
async function removeRemains(data: string, folders: readonly string[], log: Logger): Promise<void> {
  await removeHalf(data)
  try {
    await removeFolders(...folders)
  } catch (err) {
    log.warn({ err }, 'the folder of a CSI volume that is not known is not empty: it stays')
  }
}

/** Names in a folder; none when it is not there. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return []
    throw error
  }
}

/** Folders in a folder: what else is there is not ours. */
async function foldersIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return []
    throw error
  }
}
