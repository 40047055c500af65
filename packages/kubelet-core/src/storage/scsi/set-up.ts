// Makes a volume of an iSCSI target or a Fibre Channel network ready. Safe to run again, and after a kill at any step.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../../events.ts'
import { readVolume } from '../../stats/filesystem.ts'
import { deviceLink } from '../../volume/folders.ts'
import { giveToGroup } from '../../volume/ownership.ts'
import { secretData } from '../../volume/payload.ts'
import type { ScsiPlan } from '../../volume/plan.ts'
import type { SetUpContext } from '../../volume/set-up.ts'
import { type ReadyVolume, VolumeError } from '../../volume/types.ts'
import { makeVolumeFolder } from '../../volume/volume-folder.ts'
import { ensureBound } from '../bind.ts'
import { DeviceMountError } from '../format.ts'
import type { NodeDisk } from '../node-disks.ts'
import { claimRef } from '../storage.ts'
import { attachFc } from './fc.ts'
import { attachIscsi } from './iscsi.ts'
import type { ChapSecret } from './iscsiadm.ts'
import { folderOf } from './target.ts'

/** @param target where the pod has its files @throws VolumeError, NotAttachedError, LinuxError; the signal's reason */
export async function setUpScsi(
  plan: ScsiPlan,
  target: string,
  pod: Pod,
  context: SetUpContext,
  signal: AbortSignal = new AbortController().signal,
): Promise<ReadyVolume> {
  const { storage, disks, rootDir } = context
  const podUid = pod.metadata?.uid ?? ''
  if (storage?.isAttachedByController) await storage.attachments.waitListed(plan.attachName, podUid, signal)
  const disk = diskOf(plan, context, signal)
  if (plan.volumeMode === 'Block') {
    const path = await disks.map(disk, { podUid, link: deviceLink(rootDir, podUid, plan) }, signal)
    return { path, renewAt: Infinity }
  }
  const tell = (event: NodeletEvent): void => storage?.tell(pod, event)
  try {
    await disks.use(disk, async (mounted) => bindForPod(plan, mounted, target, pod, { tell, signal }), signal)
  } catch (error) {
    throw error instanceof DeviceMountError ? told(plan, error, tell) : error
  }
  const { name, bound } = plan
  const measure = async (): ReturnType<typeof readVolume> => readVolume(target)
  storage?.meter.follow(pod, { name, claim: claimRef(bound), source: 'statfs', measure })
  return { path: target, renewAt: Infinity }
}

function diskOf(plan: ScsiPlan, context: SetUpContext, signal: AbortSignal): NodeDisk {
  const { attachName, fsType, readOnly, mountOptions, volumeMode, specName } = plan
  const attach = async (folder: string): Promise<string> => {
    if (plan.target.kind === 'fc') return attachFc(plan.target, folder)
    const secret = await chapSecret(plan, context, signal)
    return attachIscsi(plan.target, { folder, secret, log: context.log }, signal)
  }
  return {
    folder: folderOf(plan.target, volumeMode),
    attachName,
    fsType,
    readOnly,
    mountOptions,
    attach: async (folder) =>
      attach(folder).catch((cause: unknown) => {
        signal.throwIfAborted()
        const isBlock = volumeMode === 'Block'
        const operation = isBlock ? 'MapVolume.WaitForAttach' : 'MountVolume.WaitForAttach'
        const message = `${operation} failed for volume "${specName}" : ${(cause as Error).message}`
        throw new VolumeError(plan.name, message, { cause, reason: isBlock ? 'FailedMapVolume' : 'FailedMount' })
      }),
  }
}

/** Read anew each time: nothing of it is kept. @throws Error in the words of the Go kubelet */
async function chapSecret(
  { target, secret }: ScsiPlan,
  { storage }: SetUpContext,
  signal: AbortSignal,
): Promise<ChapSecret> {
  if (target.kind === 'fc' || !(target.discoveryChap || target.sessionChap)) return {}
  if (!secret) throw new Error('CHAP enabled but secret name or namespace is empty')
  if (!storage) throw new Error('Cannot get kube client')
  const { namespace, name } = secret
  const refused = (why: string, cause?: unknown): Error =>
    new Error(`couldn't get secret ${namespace}/${name} error: ${why}`, { cause })
  const found = await storage.objects.secret(namespace, name, signal).catch((cause: unknown) => {
    throw refused((cause as Error).message, cause)
  })
  if (!found) throw refused(`secrets "${name}" not found`)
  return Object.fromEntries([...secretData(found)].map(([key, bytes]) => [key, bytes.toString()]))
}

async function bindForPod(
  { readOnly, specName }: ScsiPlan,
  mounted: string,
  target: string,
  pod: Pod,
  { tell, signal }: { tell(event: NodeletEvent): void; signal: AbortSignal },
): Promise<void> {
  await makeVolumeFolder(target, 0o750)
  await ensureBound(mounted, target, readOnly)
  if (!readOnly) await giveToGroup(target, pod, { volume: specName, tell, signal })
}

/** The error of the disk, in the words of the Go kubelet. */
function told({ name, specName }: ScsiPlan, cause: DeviceMountError, tell: (event: NodeletEvent) => void): VolumeError {
  if (cause.kind === 'FilesystemMismatch') {
    tell({ type: 'Warning', reason: 'FailedMountOnFilesystemMismatch', message: cause.message })
  }
  return new VolumeError(name, `MountVolume.MountDevice failed for volume "${specName}" : ${cause.message}`, { cause })
}
