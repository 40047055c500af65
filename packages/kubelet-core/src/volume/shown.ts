// Which files of a volume the sub paths of its pod show.
import { readMountInfo } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { join } from 'node:path'
import { podFolders } from './folders.ts'

/** Whether a container of the pod mounts a part of the volume. */
export function hasSubPaths({ spec }: Pod, volume: string): boolean {
  const containers = [
    ...(spec?.initContainers ?? []),
    ...(spec?.containers ?? []),
    ...(spec?.ephemeralContainers ?? []),
  ]
  return containers
    .flatMap(({ volumeMounts = [] }) => volumeMounts)
    .some(({ name, subPath, subPathExpr }) => name === volume && Boolean(subPath || subPathExpr))
}

/** Names on the way to what is bound: that of a generation, which is like no other, is among them while it is shown. */
export async function shownNames(rootDir: string, podUid: string, volume: string): Promise<ReadonlySet<string>> {
  const mounts = await readMountInfo('self', { below: join(podFolders(rootDir, podUid).subPaths, volume) })
  return new Set(mounts.flatMap(({ root }) => root.split('/')))
}
