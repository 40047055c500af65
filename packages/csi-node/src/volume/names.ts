// Where the files of CSI volumes are, and what they are called: as in the Go kubelet, so that either finds what the other left. Pure.
import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Folder of plugin `kubernetes.io/csi` below a pod's `volumes` or `volumeDevices`. */
export const csiFolder = 'kubernetes.io~csi'
export const dataFile = 'vol_data.json'

const sha256 = (...parts: string[]): string => createHash('sha256').update(parts.join('')).digest('hex')

/** Of a VolumeAttachment. */
export const attachmentName = (driver: string, volumeHandle: string, nodeName: string): string =>
  `csi-${sha256(volumeHandle, driver, nodeName)}`

/** The handle of an inline volume. */
export const inlineHandle = (podUid: string, volumeName: string): string => `csi-${sha256(podUid, volumeName)}`

/** As node.status.volumesInUse and volumesAttached name a volume. */
export const uniqueVolumeName = (driver: string, volumeHandle: string): string =>
  `kubernetes.io/csi/${driver}^${volumeHandle}`

export const pluginFolder = (rootDir: string): string => join(rootDir, 'plugins', 'kubernetes.io', 'csi')

/** Of one volume on this node. */
export interface StagingPaths {
  folder: string
  /** Where the driver stages. */
  target: string
  data: string
}

export const stagingPaths = (rootDir: string, driver: string, volumeHandle: string): StagingPaths =>
  stagingPathsIn(join(pluginFolder(rootDir), segment(driver, 'driver'), sha256(volumeHandle)))

export const stagingPathsIn = (folder: string): StagingPaths => ({
  folder,
  target: join(folder, 'globalmount'),
  data: join(folder, dataFile),
})

/** Whether a staging folder is of this volume. */
export const isStagingName = (name: string, volumeHandle: string): boolean => name === sha256(volumeHandle)

/** Of one volume in one pod. */
export interface PublishPaths {
  folder: string
  /** Where the driver publishes. */
  target: string
  data: string
}

export function publishPaths(rootDir: string, podUid: string, specName: string): PublishPaths {
  const pod = join(rootDir, 'pods', segment(podUid, 'pod UID'))
  const folder = join(pod, 'volumes', csiFolder, segment(escaped(specName), 'volume'))
  return { folder, target: join(folder, 'mount'), data: join(folder, dataFile) }
}

/** Of one block volume, in all pods. */
export interface BlockPaths {
  folder: string
  /** A bind mount of the device for each pod. */
  devices: string
  dataFolder: string
  data: string
  staging: string
  /** A device or link of the driver for each pod. */
  published: string
}

export function blockPaths(rootDir: string, specName: string): BlockPaths {
  const all = join(pluginFolder(rootDir), 'volumeDevices')
  const name = segment(escaped(specName), 'volume')
  const folder = join(all, name)
  const dataFolder = join(folder, 'data')
  return {
    folder,
    devices: join(folder, 'dev'),
    dataFolder,
    data: join(dataFolder, dataFile),
    staging: join(all, 'staging', name),
    published: join(all, 'publish', name),
  }
}

/** The link to the device of a block volume in a pod's own folder. */
export const blockLink = (rootDir: string, podUid: string, specName: string): string =>
  join(rootDir, 'pods', segment(podUid, 'pod UID'), 'volumeDevices', csiFolder, segment(escaped(specName), 'volume'))

/** A name as that of a folder. */
export const escaped = (name: string): string => name.replaceAll('/', '~')

/** @throws Error when the name would lead elsewhere */
function segment(name: string, what: string): string {
  if (/^\.{0,2}$/.test(name) || /[/\0]/.test(name)) {
    throw new Error(`${what} ${JSON.stringify(name)} cannot be the name of a folder`)
  }
  return name
}
