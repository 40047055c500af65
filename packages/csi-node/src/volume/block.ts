// Block volumes: devices for pods.
import { lstat, mkdir, realpath, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CsiError, csiErrorKind } from '../driver/csi-error.ts'
import { hasCode } from '../errors.ts'
import { volumeCapability } from './capability.ts'
import { diskAt, refuseInUse } from './disk.ts'
import { holdDevice, letGoOfDevice, linkDevice } from './hold-device.ts'
import { isMounted, refuseLinks, removeFolders, removeTarget } from './mounts.ts'
import { attachmentName, blockLink, blockPaths } from './names.ts'
import { confidentialOf } from './publish.ts'
import { type BlockVolume, blockPods, namesIn } from './records.ts'
import { removeVolumeData, writeVolumeData } from './volume-data.ts'
import { driverOf, during, readSecret, type SetUpWork, type VolumeContext } from './work.ts'

/** The device of the pod. Safe to run again. @throws CsiVolumeError */
export async function mapBlock(context: VolumeContext, work: SetUpWork, signal: AbortSignal): Promise<string> {
  const { volume, pod } = work
  const block = await during('MapVolume.SetUpDevice', volume.specName, async () => stageBlock(context, work, signal))
  const known = block.devices.get(pod.uid)
  if (known !== undefined) {
    const { published } = blockPaths(context.rootDir, volume.specName)
    await linkDevice(context.rootDir, blockLink(context.rootDir, pod.uid, volume.specName), join(published, pod.uid))
    return known
  }
  return during('MapVolume.MapPodDevice', volume.specName, async () => publishBlock(context, work, block, signal))
}

async function stageBlock(context: VolumeContext, work: SetUpWork, signal: AbortSignal): Promise<BlockVolume> {
  const { volume, driver, capabilities } = work
  const { driver: name, volumeHandle, specName } = volume
  const { blocks } = context.records
  const paths = blockPaths(context.rootDir, specName)
  const known = blocks.get(specName)
  if (known && (known.driver !== name || known.volumeHandle !== volumeHandle)) {
    throw new Error(`volume ${known.volumeHandle} of driver ${known.driver} is staged as ${specName}`)
  }
  if (known?.isSure) return known
  const secrets = capabilities.stageUnstage
    ? await readSecret(context, 'NodeStageSecretRef', volume.stageSecret, signal)
    : undefined
  const { nodeName } = context
  const attachmentID = attachmentName(name, volumeHandle, nodeName)
  await writeVolumeData(paths.data, { specVolID: specName, volumeHandle, driverName: name, nodeName, attachmentID })
  const block: BlockVolume = known ?? {
    driver: name,
    volumeHandle,
    specName,
    // Of one whose record was lost.
    pods: await blockPods(context.rootDir, specName),
    devices: new Map(),
    isSure: false,
    wasThere: false,
  }
  blocks.set(specName, block)
  Object.assign(block, { isUnstaged: false, disk: undefined })
  if (capabilities.stageUnstage) {
    await mkdir(paths.staging, { recursive: true, mode: 0o750 })
    try {
      const capability = volumeCapability(volume, work.pod, capabilities)
      const { publishContext } = work
      const { attributes: volumeContext, migrated } = volume
      const call = { volumeId: volumeHandle, stagingTargetPath: paths.staging, capability, publishContext, secrets }
      await driver.stage({ ...call, volumeContext, migrated }, signal)
    } catch (error) {
      const kind = csiErrorKind(error)
      if (kind === 'final' ? !block.wasThere : kind === 'transient' && !known) await discard(context, block)
      throw error
    }
  }
  return Object.assign(block, { isSure: true, wasThere: true })
}

async function publishBlock(
  context: VolumeContext,
  work: SetUpWork,
  block: BlockVolume,
  signal: AbortSignal,
): Promise<string> {
  const { volume, pod, driver, capabilities } = work
  const { specName } = volume
  const paths = blockPaths(context.rootDir, specName)
  const target = join(paths.published, pod.uid)
  const confidential = await confidentialOf(context, work, signal)
  await mkdir(paths.published, { recursive: true, mode: 0o750 })
  // The link first: by it the pod is known to have the volume, whatever happens from here on.
  await linkDevice(context.rootDir, blockLink(context.rootDir, pod.uid, specName), target)
  const isNew = !block.pods.has(pod.uid)
  block.pods.add(pod.uid)
  try {
    await driver.publish(
      {
        volumeId: volume.volumeHandle,
        stagingTargetPath: capabilities.stageUnstage ? paths.staging : undefined,
        targetPath: target,
        capability: volumeCapability(volume, pod, capabilities),
        readonly: volume.readOnly,
        publishContext: work.publishContext,
        migrated: volume.migrated,
        ...confidential,
      },
      signal,
    )
  } catch (error) {
    // Not staged, says the driver: then it has to be.
    if (error instanceof CsiError && error.code === 'FAILED_PRECONDITION') block.isSure = false
    if (csiErrorKind(error) !== 'uncertain' && isNew) await forgetPod(context, block, pod.uid)
    throw error
  }
  const device = await realpath(target)
  if (!(await stat(device)).isBlockDevice()) throw new Error(`${device} is not a block device`)
  await holdDevice(device, join(paths.devices, pod.uid), volume.readOnly ?? false)
  block.devices.set(pod.uid, device)
  return device
}

/** Takes the device of one pod away. Safe to run again. @throws CsiError, Error */
export async function unmapBlock(
  context: VolumeContext,
  block: BlockVolume,
  podUid: string,
  signal: AbortSignal,
): Promise<void> {
  const paths = blockPaths(context.rootDir, block.specName)
  const target = join(paths.published, podUid)
  const driver = driverOf(context, block.driver)
  block.devices.delete(podUid)
  block.disk ??= await diskAt(join(paths.devices, podUid))
  await letGoOfDevice(join(paths.devices, podUid))
  await driver.unpublish({ volumeId: block.volumeHandle, targetPath: target }, signal)
  if (await isMounted(target)) throw new Error(`${target} is still mounted after NodeUnpublishVolume`)
  await forgetPod(context, block, podUid)
}

/**
 * Takes the device of a volume whose record was lost from a pod; its driver, which nobody knows, is not told. Safe to run again.
 * @throws LinuxError, Error
 */
export async function forceUnmapBlock(rootDir: string, podUid: string, specName: string): Promise<void> {
  const { devices, published } = blockPaths(rootDir, specName)
  for (const folder of [devices, published]) await letGoOfDevice(join(folder, podUid))
  const link = blockLink(rootDir, podUid, specName)
  await refuseLinks(rootDir, dirname(link))
  await rm(link, { force: true })
}

async function forgetPod(context: VolumeContext, block: BlockVolume, podUid: string): Promise<void> {
  await removeTarget(join(blockPaths(context.rootDir, block.specName).published, podUid))
  const link = blockLink(context.rootDir, podUid, block.specName)
  await refuseLinks(context.rootDir, dirname(link))
  await rm(link, { force: true })
  for (const folder of [dirname(link), dirname(dirname(link))]) {
    if ((await namesIn(folder)).length === 0) await removeFolders(folder)
  }
  block.pods.delete(podUid)
}

/** Of a volume that no pod has. Safe to run again. @throws CsiError, Error */
export async function tearDownBlock(context: VolumeContext, block: BlockVolume, signal: AbortSignal): Promise<void> {
  const paths = blockPaths(context.rootDir, block.specName)
  const held = await namesIn(paths.devices)
  if (held.length > 0)
    throw new Error(`the device of volume ${block.specName} is still mapped for pods [${held.join(' ')}]`)
  const driver = driverOf(context, block.driver)
  block.isSure = false
  if (!block.isUnstaged && (await isThere(paths.staging))) {
    const { stageUnstage } = await driver.capabilities(signal)
    if (stageUnstage) await driver.unstage({ volumeId: block.volumeHandle, stagingTargetPath: paths.staging }, signal)
    if (await isMounted(paths.staging)) throw new Error(`${paths.staging} is still mounted after NodeUnstageVolume`)
  }
  block.isUnstaged = true
  await refuseInUse(block.disk)
  await forget(context, block)
}

async function forget({ rootDir, records }: VolumeContext, { specName }: BlockVolume): Promise<void> {
  const paths = blockPaths(rootDir, specName)
  await removeFolders(paths.published, paths.staging, paths.devices)
  await removeVolumeData(paths.data)
  await removeFolders(paths.dataFolder, paths.folder)
  records.blocks.delete(specName)
}

async function discard(context: VolumeContext, block: BlockVolume): Promise<void> {
  try {
    const { staging } = blockPaths(context.rootDir, block.specName)
    if (block.pods.size === 0 && !(await isMounted(staging))) await forget(context, block)
  } catch (err) {
    context.log.warn({ err, volume: block.specName }, 'a block volume that was not staged left something behind')
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}
