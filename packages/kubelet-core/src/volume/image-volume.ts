// Volumes that are the files of an image: the runtime mounts them, the kubelet sees to the image. Pure.
import type { Container, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'

/** Newer API servers have it. @see v1.ImageVolumeSource */
export type NewerVolume = Volume & { image?: { reference?: string; pullPolicy?: string } }

export interface ImageVolume {
  name: string
  reference: string
  /** Undefined: by the tag, as for containers. */
  pullPolicy?: string | undefined
}

export const isImageVolume = (volume: Volume): boolean => (volume as NewerVolume).image !== undefined

export function imageVolumes({ spec }: Pod): ImageVolume[] {
  return (spec?.volumes ?? []).flatMap((volume) => {
    const { image } = volume as NewerVolume
    return image ? [{ name: volume.name, reference: image.reference ?? '', pullPolicy: image.pullPolicy }] : []
  })
}

/** Those that the container mounts. */
export function imageVolumesOf(pod: Pod, container: Container): ImageVolume[] {
  const mounted = new Set((container.volumeMounts ?? []).map(({ name }) => name))
  return imageVolumes(pod).filter(({ name }) => mounted.has(name))
}
