// Publishing: a volume for one pod.
import { mkdir } from 'node:fs/promises'
import { basename } from 'node:path'
import { CsiError, csiErrorKind } from '../driver/csi-error.ts'
import { givesToGroup, volumeCapability } from './capability.ts'
import { tokensEntry, volumeContext } from './context.ts'
import { isMounted, refuseLinks, removeFolders, removeTarget } from './mounts.ts'
import { attachmentName, publishPaths } from './names.ts'
import { giveToGroup } from './ownership.ts'
import { namesIn, type Publication, publicationKey, volumeKey } from './records.ts'
import { removeVolumeData, writeVolumeData } from './volume-data.ts'
import { counted, driverOf, readSecret, type SetUpWork, type VolumeContext } from './work.ts'

/** Where the pod has the volume. Safe to run again. @throws CsiError, Error */
export async function publishVolume(
  context: VolumeContext,
  work: SetUpWork,
  staged: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { volume, pod, driver, settings } = work
  const { driver: name, volumeHandle, specName } = volume
  const { publications } = context.records
  const { folder, target, data } = publishPaths(context.rootDir, pod.uid, specName)
  const key = publicationKey(pod.uid, specName)
  const known = publications.get(key)
  if (known && volumeKey(known.driver, known.volumeHandle) !== volumeKey(name, volumeHandle)) {
    throw new Error(`volume ${known.volumeHandle} of driver ${known.driver} is published at ${target}`)
  }
  if (known?.isSure && !settings?.requiresRepublish) return target
  const confidential = await confidentialOf(context, work, signal)
  const capability = volumeCapability(volume, pod, work.capabilities)
  await refuseLinks(context.rootDir, folder)
  await mkdir(folder, { recursive: true, mode: 0o750 }) // not the target: that is the driver's to make
  if (!known) await writeVolumeData(data, recordOf(context, work))
  const publication: Publication = known ?? {
    driver: name,
    volumeHandle,
    specName,
    podUid: pod.uid,
    lifecycle: volume.lifecycle,
    isSure: false,
    wasThere: false,
  }
  publications.set(key, publication)
  try {
    await driver.publish(
      {
        volumeId: volumeHandle,
        stagingTargetPath: staged,
        targetPath: target,
        capability,
        readonly: volume.readOnly,
        publishContext: work.publishContext,
        migrated: volume.migrated,
        ...confidential,
      },
      signal,
    )
  } catch (error) {
    await published(context, publication, error, known === undefined)
    throw error
  }
  publication.isSure = false // until its files are the group's
  // As the Go kubelet, which does not look: the runtime says that there is nothing to mount, or makes a folder of the node's own.
  // The names above it are read, since a look at the mount itself may hang.
  if (!(await namesIn(folder)).includes(basename(target))) {
    const fields = { driver: name, volume: specName, pod: pod.uid, target }
    context.log.warn(fields, 'a driver says that it has published a volume, and there is nothing')
  }
  publication.wasThere = true
  await ownFiles(context, work, target, signal)
  publication.isSure = true
  return target
}

const recordOf = ({ nodeName }: VolumeContext, { volume }: SetUpWork) => ({
  specVolID: volume.specName,
  volumeHandle: volume.volumeHandle,
  driverName: volume.driver,
  nodeName,
  attachmentID: attachmentName(volume.driver, volume.volumeHandle, nodeName),
  volumeLifecycleMode: volume.lifecycle,
  ...(volume.seLinuxLabel && { seLinuxMountContext: volume.seLinuxLabel }),
})

/** Secrets and tokens, each where the driver wants it. */
export async function confidentialOf(
  context: VolumeContext,
  { volume, pod, settings }: SetUpWork,
  signal: AbortSignal,
): Promise<{ volumeContext: Readonly<Record<string, string>>; secrets: Readonly<Record<string, string>> | undefined }> {
  const secrets = await readSecret(context, 'NodePublishSecretRef', volume.publishSecret, signal)
  const wishes = settings?.tokenRequests ?? []
  const issued = await Promise.all(
    wishes.map(async (wish) => [wish, await context.objects.token(pod, wish, signal)] as const),
  )
  const tokens = tokensEntry(issued)
  const told = volumeContext(volume, pod, settings)
  return settings?.serviceAccountTokenInSecrets
    ? { volumeContext: told, secrets: { ...secrets, ...tokens } }
    : { volumeContext: { ...told, ...tokens }, secrets }
}

/** What a failed call makes of the publication. */
async function published(
  context: VolumeContext,
  publication: Publication,
  error: unknown,
  isNew: boolean,
): Promise<void> {
  const kind = csiErrorKind(error)
  const device = context.records.devices.get(volumeKey(publication.driver, publication.volumeHandle))
  // Not staged, says the driver: then it has to be.
  if (device && error instanceof CsiError && error.code === 'FAILED_PRECONDITION') device.isSure = false
  if (kind === 'uncertain') publication.isSure = false
  if (kind === 'final' ? !publication.wasThere : kind === 'transient' && isNew) await discard(context, publication)
}

async function discard(context: VolumeContext, publication: Publication): Promise<void> {
  try {
    const { target } = publishPaths(context.rootDir, publication.podUid, publication.specName)
    if (!(await isMounted(target))) await forget(context, publication)
  } catch (err) {
    const { driver, specName: volume, podUid: pod } = publication
    context.log.warn({ err, driver, volume, pod }, 'a volume that was not published left something behind')
  }
}

async function forget({ rootDir, records }: VolumeContext, { podUid, specName }: Publication): Promise<void> {
  const { target, data, folder } = publishPaths(rootDir, podUid, specName)
  await removeTarget(target)
  await removeVolumeData(data)
  await removeFolders(folder)
  records.publications.delete(publicationKey(podUid, specName))
}

async function ownFiles(context: VolumeContext, work: SetUpWork, target: string, signal: AbortSignal): Promise<void> {
  const { volume, pod, settings, capabilities } = work
  const { fsGroup: gid, fsGroupChangePolicy: policy } = pod
  if (gid === undefined || !givesToGroup(volume, pod, settings, capabilities)) return
  const { driver, migrated } = volume
  await counted(context, { driver, operation: 'volume_apply_access_control', migrated }, async () =>
    giveToGroup(target, {
      gid,
      policy,
      signal,
      failed: (path, err) => context.log.error({ err, path, volume: volume.specName }, 'a file keeps its group'),
      progress: (count) => context.ownershipProgress(pod, volume.specName, count),
    }),
  )
}

/** Safe to run again. @throws CsiError; Error: it is mounted or has files still, and stays as it is */
export async function unpublishVolume(
  context: VolumeContext,
  publication: Publication,
  signal: AbortSignal,
): Promise<void> {
  const { folder, target } = publishPaths(context.rootDir, publication.podUid, publication.specName)
  const driver = driverOf(context, publication.driver)
  await refuseLinks(context.rootDir, folder)
  publication.isSure = false
  await driver.unpublish({ volumeId: publication.volumeHandle, targetPath: target }, signal)
  if (await isMounted(target)) throw new Error(`${target} is still mounted after NodeUnpublishVolume`)
  await forget(context, publication)
}
