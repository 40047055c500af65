// Places in a volume that other volumes are mounted on: where a container may only read it, its runtime cannot make them. Pure.
import { normalize } from 'node:path'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { absolute } from '../pod/mount-rules.ts'

/** Relative to the volume, each once; those within another one are that one's. */
export function nestedMountPoints({ spec }: Pod, volume: string): string[] {
  const containers: Pick<Container, 'volumeMounts'>[] = [
    ...(spec?.initContainers ?? []),
    ...(spec?.containers ?? []),
    ...(spec?.ephemeralContainers ?? []),
  ]
  return [...new Set(containers.flatMap(({ volumeMounts = [] }) => nestedIn(volumeMounts, volume)))]
}

function nestedIn(mounts: NonNullable<Container['volumeMounts']>, volume: string): string[] {
  const folder = (path: string): string => `${normalize(absolute(path)).replace(/\/+$/, '')}/`
  const all = mounts.map(({ mountPath }) => folder(mountPath))
  return mounts
    .filter(({ name, subPathExpr }) => name === volume && !subPathExpr)
    .flatMap(({ mountPath, subPath = '' }) => {
      const own = folder(mountPath)
      const below = all.filter((path) => path !== own && path.startsWith(own))
      const outer = below.filter((path) => !below.some((other) => other !== path && path.startsWith(other)))
      return outer.map((path) => normalize(`${subPath}/${path.slice(own.length, -1)}`).replace(/^\//, ''))
    })
    .filter((path) => !path.startsWith('..'))
}
