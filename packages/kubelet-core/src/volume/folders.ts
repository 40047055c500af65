// Where the volumes of pods live below the kubelet's root folder.
import { join } from 'node:path'
import type { ScsiPlan, VolumePlan } from './plan.ts'

const prefix = 'kubernetes.io~'

export interface PodFolders {
  pod: string
  /** What is mounted here goes with the pod: what it has mounted on a volume shows where the volume is kept for all pods, too. */
  own: readonly string[]
  volumes: string
  /** Links to devices of block volumes. */
  devices: string
  subPaths: string
}

/** Whether a name below `pods` can be a pod's: others are not ours. */
export function isPodUid(name: string): boolean {
  return /^[A-Za-z0-9][-A-Za-z0-9_.]*$/.test(name)
}

/** @throws Error when the UID could name another folder than one below `pods` */
export function podFolders(rootDir: string, podUid: string): PodFolders {
  if (!isPodUid(podUid)) throw new Error(`pod UID ${JSON.stringify(podUid)} is malformed`)
  const pod = join(rootDir, 'pods', podUid)
  return {
    pod,
    own: [pod, join(rootDir, 'plugins')],
    volumes: join(pod, 'volumes'),
    devices: join(pod, 'volumeDevices'),
    subPaths: join(pod, 'volume-subpaths'),
  }
}

/** The link to the device of a volume that is one, and not a driver's. */
export const deviceLink = (rootDir: string, podUid: string, { target, specName }: ScsiPlan): string =>
  join(podFolders(rootDir, podUid).devices, `${prefix}${target.kind}`, specName)

/** The folder of a volume that is mounted below the pod's; for a hostPath the path on the host. */
export function volumePath(rootDir: string, podUid: string, plan: Exclude<VolumePlan, { kind: 'csi' }>): string {
  if (plan.kind === 'hostPath') return plan.path
  const folder = (plugin: string, name: string): string =>
    join(podFolders(rootDir, podUid).volumes, `${prefix}${plugin}`, name)
  if (plan.kind === 'local') return folder('local-volume', plan.specName)
  if (plan.kind === 'nfs') return folder('nfs', plan.specName)
  if (plan.kind === 'scsi') return folder(plan.target.kind, plan.specName)
  return folder(plan.kind === 'emptyDir' ? 'empty-dir' : plan.plugin, plan.name)
}
