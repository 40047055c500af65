// Local volumes: a folder of this node, or a device, that a PersistentVolume names.
import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { readMountInfo } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import { hasCode } from '../errors.ts'
import type { LocalPlan } from '../volume/plan.ts'
import { giveToGroup } from '../volume/ownership.ts'
import { VolumeError } from '../volume/types.ts'
import { makeVolumeFolder } from '../volume/volume-folder.ts'
import { ensureBound, mountAt } from './bind.ts'
import { DeviceMountError } from './format.ts'
import type { NodeDisks } from './node-disks.ts'

export interface LocalContext {
  disks: NodeDisks
  tell(event: NodeletEvent): void
  signal: AbortSignal | undefined
}

/** Where a disk is mounted for all pods, as {@link NodeDisks} has it. */
export const localFolder = ({ specName }: LocalPlan): string => join('local-volume/mounts', specName)

/** @returns where the pod has it. Safe to run again. @throws VolumeError, Error, LinuxError */
export async function setUpLocal(plan: LocalPlan, target: string, pod: Pod, context: LocalContext): Promise<string> {
  const { path } = plan
  const stats = await statOf(path)
  if (plan.volumeMode === 'Block') {
    if (!stats.isBlockDevice()) throw new Error(`path "${path}" is not a block device`)
    return path
  }
  if (!stats.isBlockDevice()) return bindForPod(plan, path, target, pod, context)
  try {
    const disk = { ...plan, folder: localFolder(plan), attach: async () => path }
    const use = async (mounted: string): Promise<string> => bindForPod(plan, mounted, target, pod, context)
    return await context.disks.use(disk, use, context.signal)
  } catch (error) {
    throw error instanceof DeviceMountError ? told(plan, error, context) : error
  }
}

/** The error of the device, which pods are told in the words of the Go kubelet. */
function told(
  { name, specName, path, fsType }: LocalPlan,
  cause: DeviceMountError,
  { tell }: LocalContext,
): VolumeError {
  const why = `local: failed to mount device ${path} (fstype: ${fsType}), error ${cause.message}`
  if (cause.kind === 'FilesystemMismatch') {
    tell({ type: 'Warning', reason: 'FailedMountOnFilesystemMismatch', message: why })
  }
  return new VolumeError(name, `MountVolume.MountDevice failed for volume "${specName}" : ${why}`, { cause })
}

/** @param source what is bound */
async function bindForPod(
  { readOnly, specName }: LocalPlan,
  source: string,
  target: string,
  pod: Pod,
  { tell, signal }: LocalContext,
): Promise<string> {
  const wasBound = (await mountAt(target)) !== undefined
  const isShared = await isUsed(source, target)
  await makeVolumeFolder(target, 0o750)
  await ensureBound(source, target, readOnly)
  const { fsGroup } = pod.spec?.securityContext ?? {}
  if (fsGroup === undefined || readOnly) return target
  const { gid } = await stat(source)
  // The first pod's group stays. Of one that was bound before, the root tells whether all in it was given: it is given last.
  if (!isShared) await giveToGroup(target, pod, { volume: specName, tell, signal, isBegun: wasBound })
  else if (gid !== fsGroup && !wasBound) {
    const message = `The requested fsGroup is ${fsGroup}, but the volume ${specName} has GID ${gid}. The volume may not be shareable.`
    tell({ type: 'Warning', reason: 'AlreadyMountedVolume', message })
  }
  return target
}

async function statOf(path: string): Promise<Stats> {
  try {
    return await stat(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) throw new Error(`path "${path}" does not exist`, { cause: error })
    throw error
  }
}

/** Whether another pod has it: its folder is bound below one's. @param target where this one has it */
async function isUsed(path: string, target: string): Promise<boolean> {
  const mounts = await readMountInfo()
  const holder = mounts.filter(({ mountPoint }) => isWithin(path, mountPoint)).at(-1)
  if (!holder) return false
  const below = path.slice(holder.mountPoint === '/' ? 0 : holder.mountPoint.length)
  const root = `${holder.root === '/' ? '' : holder.root}${below}` || '/'
  return mounts.some(
    (one) =>
      one.root === root &&
      one.major === holder.major &&
      one.minor === holder.minor &&
      one.mountPoint !== target &&
      one.mountPoint.includes('/volumes/kubernetes.io~local-volume/'),
  )
}

const isWithin = (path: string, folder: string): boolean =>
  folder === '/' || path === folder || path.startsWith(`${folder}/`)
