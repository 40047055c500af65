// Staging: once per volume and node, before it is published for any pod.
import { mkdir } from 'node:fs/promises'
import { csiErrorKind } from '../driver/csi-error.ts'
import { volumeCapability } from './capability.ts'
import { diskMountedAt, refuseInUse } from './disk.ts'
import { isMounted, referencesOf, removeFolders } from './mounts.ts'
import { pluginFolder, stagingPaths } from './names.ts'
import { type Device, publicationKey, volumeKey } from './records.ts'
import { removeVolumeData, writeVolumeData } from './volume-data.ts'
import { driverOf, readSecret, type SetUpWork, type VolumeContext } from './work.ts'

/** Where the volume is staged; undefined when its driver does not stage. Safe to run again. @throws CsiError, Error */
export async function stageVolume(
  context: VolumeContext,
  work: SetUpWork,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { volume, driver, capabilities } = work
  const { driver: name, volumeHandle } = volume
  const { devices } = context.records
  const key = volumeKey(name, volumeHandle)
  let known = devices.get(key)
  const isOwn = context.records.publications.has(publicationKey(work.pod.uid, volume.specName))
  if (known && !isOwn && known.seLinuxLabel !== volume.seLinuxLabel) {
    refuseOtherLabel(context, work, known)
    // Of a pod that is gone: a mount keeps its label.
    await unstageVolume(context, volume, signal)
    known = undefined
  }
  if (known?.isSure) return known.paths.target
  const paths = known?.paths ?? stagingPaths(context.rootDir, name, volumeHandle)
  if (!(await isMounted(paths.target))) await mkdir(paths.target, { recursive: true, mode: 0o750 })
  if (!capabilities.stageUnstage) return undefined
  const secrets = await readSecret(context, 'NodeStageSecretRef', volume.stageSecret, signal)
  const capability = volumeCapability(volume, work.pod, capabilities)
  const { seLinuxLabel } = volume
  await writeVolumeData(paths.data, {
    driverName: name,
    volumeHandle,
    ...(seLinuxLabel && { seLinuxMountContext: seLinuxLabel }),
  })
  const device: Device = known ?? { driver: name, volumeHandle, paths, seLinuxLabel, isSure: false, wasThere: false }
  devices.set(key, device)
  Object.assign(device, { isUnstaged: false, disk: undefined })
  try {
    await driver.stage(
      {
        volumeId: volumeHandle,
        stagingTargetPath: paths.target,
        capability,
        publishContext: work.publishContext,
        volumeContext: volume.attributes,
        migrated: volume.migrated,
        secrets,
      },
      signal,
    )
  } catch (error) {
    const kind = csiErrorKind(error)
    const isUndone = kind === 'final' ? !device.wasThere : kind === 'transient' && !known
    if (isUndone) await discard(context, device)
    throw error
  }
  Object.assign(device, { isSure: true, wasThere: true })
  return paths.target
}

/** @throws Error in the words of the Go kubelet: a pod has it with another label */
function refuseOtherLabel({ records }: VolumeContext, { volume }: SetUpWork, device: Device): void {
  const { driver, volumeHandle, specName, seLinuxLabel = '' } = volume
  const isOthers = [...records.publications.values()].some(
    (one) => one.driver === driver && one.volumeHandle === volumeHandle,
  )
  if (!isOthers) return
  const labels = [device.seLinuxLabel ?? '', seLinuxLabel].map((label) => JSON.stringify(label)).join(' and ')
  throw new Error(`conflicting SELinux labels of volume ${specName}: ${labels}`)
}

/** Takes away what was made for a driver that did nothing; when it did something after all, all stays to be unstaged. */
async function discard({ records, log }: VolumeContext, device: Device): Promise<void> {
  const { paths, driver, volumeHandle } = device
  try {
    if (await isMounted(paths.target)) return
    await removeFolders(paths.target)
    await removeVolumeData(paths.data)
    await removeFolders(paths.folder)
    records.devices.delete(volumeKey(driver, volumeHandle))
  } catch (err) {
    log.warn({ err, driver, volume: volumeHandle }, 'a volume that was not staged left something behind')
  }
}

/** Of a volume that no pod has. Safe to run again. @throws CsiError, Error naming where it is mounted still */
export async function unstageVolume(
  context: VolumeContext,
  volume: { driver: string; volumeHandle: string },
  signal: AbortSignal,
): Promise<void> {
  const { devices } = context.records
  const key = volumeKey(volume.driver, volume.volumeHandle)
  const device = devices.get(key)
  const paths = device?.paths ?? stagingPaths(context.rootDir, volume.driver, volume.volumeHandle)
  const plugin = `${pluginFolder(context.rootDir)}/`
  const references = (await referencesOf(paths.target)).filter((path) => !path.startsWith(plugin))
  if (references.length > 0) {
    const where = references.join(' ')
    throw new Error(`the device mount path "${paths.target}" is still mounted by other references [${where}]`)
  }
  if (device) {
    const driver = driverOf(context, device.driver)
    const { stageUnstage } = await driver.capabilities(signal)
    device.disk ??= await diskMountedAt(paths.target)
    device.isSure = false // Whatever comes of it: a pod that wants it now stages it again.
    if (stageUnstage && !device.isUnstaged) {
      await driver.unstage({ volumeId: device.volumeHandle, stagingTargetPath: paths.target }, signal)
    }
  }
  if (await isMounted(paths.target)) throw new Error(`${paths.target} is still mounted after NodeUnstageVolume`)
  if (device) device.isUnstaged = true
  // Before the folder goes: the kernel would take the mount away from others with it.
  await refuseInUse(device?.disk)
  await removeFolders(paths.target)
  await removeVolumeData(paths.data)
  await removeFolders(paths.folder)
  devices.delete(key)
}
