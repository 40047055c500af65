// Where the volumes of pods live below the kubelet's root folder.
import { join } from 'node:path'
import type { VolumePlan } from './plan.ts'

const prefix = 'kubernetes.io~'

export interface PodFolders {
  pod: string
  volumes: string
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
  return { pod, volumes: join(pod, 'volumes'), subPaths: join(pod, 'volume-subpaths') }
}

/** The folder of a volume; for a hostPath the path on the host. */
export function volumePath(rootDir: string, podUid: string, plan: VolumePlan): string {
  if (plan.kind === 'hostPath') return plan.path
  const plugin = plan.kind === 'emptyDir' ? 'empty-dir' : plan.plugin
  return join(podFolders(rootDir, podUid).volumes, `${prefix}${plugin}`, plan.name)
}
