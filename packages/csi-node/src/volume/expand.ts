// Growing a volume on its node, and asking how full it is.
import type { VolumeStats } from '../driver/answers.ts'
import { volumeCapability } from './capability.ts'
import { blockPaths, publishPaths } from './names.ts'
import { volumeKey } from './records.ts'
import type { CsiPod, CsiVolume } from './types.ts'
import { driverOf, readSecret, type VolumeContext } from './work.ts'

export interface Expansion {
  volume: CsiVolume
  pod: CsiPod
  requiredBytes: number
}

/** @returns its bytes; undefined: the driver has no EXPAND_VOLUME, so there is nothing to do @throws CsiError, Error */
export async function expandVolume(
  context: VolumeContext,
  { volume, pod, requiredBytes }: Expansion,
  signal: AbortSignal,
): Promise<number | undefined> {
  const driver = driverOf(context, volume.driver)
  const capabilities = await driver.capabilities(signal)
  if (!capabilities.expand) return undefined
  const { rootDir, records } = context
  const isBlock = volume.volumeMode === 'Block'
  const staged = isBlock
    ? blockPaths(rootDir, volume.specName).staging
    : records.devices.get(volumeKey(volume.driver, volume.volumeHandle))?.paths.target
  const device = records.blocks.get(volume.specName)?.devices.get(pod.uid)
  if (isBlock && device === undefined) throw new Error(`volume ${volume.specName} is not mapped for pod ${pod.uid}`)
  const bytes = await driver.expand(
    {
      volumeId: volume.volumeHandle,
      migrated: volume.migrated,
      volumePath: device ?? publishPaths(rootDir, pod.uid, volume.specName).target,
      requiredBytes,
      stagingTargetPath: capabilities.stageUnstage ? staged : undefined,
      capability: volumeCapability(volume, pod, capabilities),
      secrets: await readSecret(context, 'NodeExpandSecretRef', volume.expandSecret, signal),
    },
    signal,
  )
  return bytes ?? requiredBytes
}

/** @returns undefined: the driver has no GET_VOLUME_STATS, or the pod no such volume @throws CsiError */
export async function volumeStats(
  context: VolumeContext,
  podUid: string,
  specName: string,
  signal: AbortSignal,
): Promise<VolumeStats | undefined> {
  const publication = [...context.records.publications.values()].find(
    (one) => one.podUid === podUid && one.specName === specName,
  )
  const block = context.records.blocks.get(specName)
  const volumePath = publication ? publishPaths(context.rootDir, podUid, specName).target : block?.devices.get(podUid)
  const volume = publication ?? block
  if (!volume || volumePath === undefined) return undefined
  const driver = driverOf(context, volume.driver)
  if (!(await driver.capabilities(signal)).volumeStats) return undefined
  return driver.stats({ volumeId: volume.volumeHandle, volumePath }, signal)
}
