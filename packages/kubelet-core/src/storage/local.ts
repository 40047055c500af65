// Local volumes: a folder of this node, or a device, that a PersistentVolume names.
import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { giveToGroup } from '@nodelet/csi-node'
import { readMountInfo } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import { hasCode } from '../errors.ts'
import { makeVolumeFolder } from '../volume/atomic-folder.ts'
import type { LocalPlan } from '../volume/plan.ts'
import { ensureBound, mountAt } from './bind.ts'

/** @returns where the pod has it. Safe to run again. @throws Error, LinuxError */
export async function setUpLocal(
  plan: LocalPlan,
  target: string,
  pod: Pod,
  tell: (event: NodeletEvent) => void,
  signal: AbortSignal | undefined,
): Promise<string> {
  const { path, readOnly, specName } = plan
  const stats = await statOf(path)
  if (plan.volumeMode === 'Block') {
    if (!stats.isBlockDevice()) throw new Error(`path "${path}" is not a block device`)
    return path
  }
  if (stats.isBlockDevice()) {
    throw new Error(`path "${path}" is a block device, which is not formatted here: mount it, and name the folder`)
  }
  if (await mountAt(target)) {
    await ensureBound(path, target, readOnly)
    return target
  }
  const isShared = await isUsed(path)
  await makeVolumeFolder(target, 0o750)
  await ensureBound(path, target, readOnly)
  const { fsGroup, fsGroupChangePolicy: policy } = pod.spec?.securityContext ?? {}
  if (fsGroup === undefined || readOnly) return target
  // The first pod's group stays.
  if (!isShared) await giveToGroup(target, { gid: fsGroup, policy, signal })
  else if (stats.gid !== fsGroup) {
    const message = `The requested fsGroup is ${fsGroup}, but the volume ${specName} has GID ${stats.gid}. The volume may not be shareable.`
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

/** Whether a pod has it: its folder is bound below one's. */
async function isUsed(path: string): Promise<boolean> {
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
      one.mountPoint.includes('/volumes/kubernetes.io~local-volume/'),
  )
}

const isWithin = (path: string, folder: string): boolean =>
  folder === '/' || path === folder || path.startsWith(`${folder}/`)
