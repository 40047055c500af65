// Makes one volume ready. Safe to run again, and after a kill at any step.
import { chmod } from 'node:fs/promises'
import type { VolumeStats } from '@nodelet/csi-node'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import type { Logger } from '../log.ts'
import { readVolume } from '../stats/filesystem.ts'
import { readVolumeApart } from '../storage/apart.ts'
import type { NodeDisks } from '../storage/node-disks.ts'
import { setUpLocal } from '../storage/local.ts'
import { setUpNfs } from '../storage/nfs.ts'
import { setUpScsi } from '../storage/scsi/set-up.ts'
import { checkNode, claimRef, setUpCsi, type VolumeStorage } from '../storage/storage.ts'
import { writeAtomicFolder } from './atomic-folder.ts'
import { podFolders, volumePath } from './folders.ts'
import { prepareHostPath } from './host-path.ts'
import { ensureHugetlbfs, ensureTmpfs } from './mounts.ts'
import { nestedMountPoints } from './nested.ts'
import type { ReadyVolume } from './types.ts'
import type { EmptyDirPlan, FilesPlan, VolumePlan } from './plan.ts'
import { hasSubPaths, shownNames } from './shown.ts'
import { collect } from './sources.ts'
import type { SourceContext } from './sources.ts'
import { refuseLinks } from './sub-path.ts'
import { groupMode, makeVolumeFolder } from './volume-folder.ts'

const open = 0o777

/** What volumes are made with. */
export interface SetUpContext extends SourceContext {
  rootDir: string
  log: Logger
  disks: NodeDisks
  /** None: there are no claims and no drivers. */
  storage?: VolumeStorage | undefined
}

/** @param first whether the volume is new to this process */
export async function setUpVolume(
  plan: VolumePlan,
  pod: Pod,
  context: SetUpContext,
  first: boolean,
  signal?: AbortSignal,
): Promise<ReadyVolume> {
  if ('bound' in plan) checkNode(plan.bound, context.storage?.node())
  if (plan.kind === 'csi') {
    if (!context.storage) throw new Error('this kubelet has no CSI drivers')
    return setUpCsi(context.storage, plan, pod, first, signal ?? new AbortController().signal)
  }
  const tell = (event: NodeletEvent): void => context.storage?.tell(pod, event)
  const podUid = pod.metadata?.uid ?? ''
  const path = volumePath(context.rootDir, podUid, plan)
  if (plan.kind !== 'hostPath') refuseLinks(podFolders(context.rootDir, podUid).pod, path)
  if (plan.kind === 'files') return { path, renewAt: await setUpFiles(plan, path, pod, context, signal) }
  if (plan.kind === 'local') {
    const ready = await setUpLocal(plan, path, pod, { disks: context.disks, tell, signal })
    const { name, bound } = plan
    const measure = async (): Promise<VolumeStats> => readVolume(ready)
    if (plan.volumeMode === 'Filesystem') {
      context.storage?.meter.follow(pod, { name, claim: claimRef(bound), source: 'statfs', measure })
    }
    return { path: ready, renewAt: Infinity }
  }
  if (plan.kind === 'scsi') return setUpScsi(plan, path, pod, context, signal)
  if (plan.kind === 'nfs') {
    await setUpNfs(plan, path, signal)
    const { name, bound } = plan
    const measure = async (ended: AbortSignal): Promise<VolumeStats> => readVolumeApart(path, ended)
    context.storage?.meter.follow(pod, { name, claim: claimRef(bound), source: 'statfs', measure })
  } else if (plan.kind === 'hostPath') await prepareHostPath(plan)
  else await setUpEmptyDir(plan, path, pod)
  return { path, renewAt: Infinity }
}

/** It is the group's from when it is made; what containers make of it later is theirs. */
async function setUpEmptyDir({ memoryBytes, pageBytes }: EmptyDirPlan, path: string, pod: Pod): Promise<void> {
  const gid = pod.spec?.securityContext?.fsGroup
  await makeVolumeFolder(path, open, gid)
  const options = [modeOption(gid), `size=${memoryBytes}`]
  if (pageBytes !== undefined) {
    // It takes no setgid for an option.
    const isNew = await ensureHugetlbfs(path, [...options, `pagesize=${pageBytes}`])
    if (isNew) await chmod(path, groupMode(open, gid))
  } else if (memoryBytes !== undefined) await ensureTmpfs(path, options)
}

const modeOption = (gid?: number): string =>
  `mode=0${groupMode(open, gid).toString(8)}${gid === undefined ? '' : `,gid=${gid}`}`

async function setUpFiles(
  plan: FilesPlan,
  path: string,
  pod: Pod,
  context: SetUpContext,
  signal?: AbortSignal,
): Promise<number> {
  const { payload, renewAt } = await collect(plan, pod, context, signal)
  await makeVolumeFolder(path, open)
  if (plan.memory) await ensureTmpfs(path, [modeOption()])
  const gid = pod.spec?.securityContext?.fsGroup
  const shown = async (): Promise<ReadonlySet<string>> =>
    shownNames(context.rootDir, pod.metadata?.uid ?? '', plan.name)
  await writeAtomicFolder(path, payload, {
    now: context.clock.now(),
    nested: nestedMountPoints(pod, plan.name),
    ...(gid === undefined ? {} : { gid }),
    ...(hasSubPaths(pod, plan.name) && { shown }),
  })
  return renewAt
}
