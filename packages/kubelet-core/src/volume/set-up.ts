// Makes one volume ready. Safe to run again, and after a kill at any step.
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
import { makeVolumeFolder, writeAtomicFolder } from './atomic-folder.ts'
import { volumePath } from './folders.ts'
import { prepareHostPath } from './host-path.ts'
import { ensureHugetlbfs, ensureTmpfs } from './mounts.ts'
import { nestedMountPoints } from './nested.ts'
import { giveToGroup, type OwnershipContext } from './ownership.ts'
import type { ReadyVolume } from './types.ts'
import type { EmptyDirPlan, FilesPlan, VolumePlan } from './plan.ts'
import { hasSubPaths, shownNames } from './shown.ts'
import { collect } from './sources.ts'
import type { SourceContext } from './sources.ts'

const open = 0o777
const openOption = 'mode=0777'

/** What volumes are made with. */
export interface SetUpContext extends SourceContext {
  rootDir: string
  log: Logger
  disks: NodeDisks
  /** None: there are no claims and no drivers. */
  storage?: VolumeStorage | undefined
}

/** @param first whether the volume is new to this process: only then are owners of an emptyDir set anew */
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
  const path = volumePath(context.rootDir, pod.metadata?.uid ?? '', plan)
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
  else await setUpEmptyDir(plan, path, pod, first, { tell, signal })
  return { path, renewAt: Infinity }
}

async function setUpEmptyDir(
  { name, memoryBytes, pageBytes }: EmptyDirPlan,
  path: string,
  pod: Pod,
  first: boolean,
  { tell, signal }: Omit<OwnershipContext, 'volume'>,
): Promise<void> {
  await makeVolumeFolder(path, open)
  const options = [openOption, `size=${memoryBytes}`]
  if (pageBytes !== undefined) await ensureHugetlbfs(path, [...options, `pagesize=${pageBytes}`])
  else if (memoryBytes !== undefined) await ensureTmpfs(path, options)
  if (first) await giveToGroup(path, pod, { volume: name, tell, signal })
}

async function setUpFiles(
  plan: FilesPlan,
  path: string,
  pod: Pod,
  context: SetUpContext,
  signal?: AbortSignal,
): Promise<number> {
  const { payload, renewAt } = await collect(plan, pod, context, signal)
  await makeVolumeFolder(path, open)
  if (plan.memory) await ensureTmpfs(path, [openOption])
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
