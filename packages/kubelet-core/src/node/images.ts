// The images that a Node tells of.
import type { ImageService } from '@nodelet/cri-api'
import type { ContainerImage } from 'kubernetes-types/core/v1.d.ts'

const mostNames = 5

/** The largest images, digests before tags. @param most KubeletConfiguration `nodeStatusMaxImages`; -1: all */
export async function nodeImages(service: Pick<ImageService, 'listImages'>, most: number): Promise<ContainerImage[]> {
  const { images } = await service.listImages({})
  return images
    .toSorted((a, b) => Number(b.size - a.size))
    .slice(0, most < 0 ? images.length : most)
    .map(({ repoDigests, repoTags, size }) => ({
      names: [...repoDigests, ...repoTags].slice(0, mostNames),
      sizeBytes: Number(size),
    }))
}
