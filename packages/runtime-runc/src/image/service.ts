// The images as CRI calls.
import { Image, ImageStatusResponse } from '@nodelet/cri-api'
import type { FilesystemUsage, ImageService } from '@nodelet/cri-api'
import { batches } from '../batches.ts'
import type { Images } from './images-api.ts'
import type { ImageRecord } from './store.ts'

/** @param readConfig an image's configuration file, by its ID */
export function createImageService(
  images: Omit<Images, 'imageService'>,
  readConfig: (id: string) => Promise<Buffer>,
): ImageService {
  const list = (wanted: string | undefined): Image[] => {
    if (!wanted) return images.list().map(imageOf)
    const image = images.resolve(wanted)
    return image ? [imageOf(image)] : []
  }
  return {
    listImages: async ({ filter }) => ({ images: list(filter?.image?.image) }),
    async *streamImages({ filter }) {
      for await (const found of batches(list(filter?.image?.image), Image)) yield { images: found }
    },
    imageStatus: async ({ image, verbose }) => {
      const found = images.resolve(image?.image ?? '')
      if (!found) return ImageStatusResponse.fromPartial({})
      if (!verbose) return { image: imageOf(found), info: {} }
      const imageSpec: unknown = JSON.parse((await readConfig(found.id)).toString())
      const info = { info: JSON.stringify({ chainID: found.chain.at(-1) ?? '', imageSpec }) }
      return { image: imageOf(found), info }
    },
    pullImage: async ({ image, auth }, options = {}) => {
      const { id } = await images.pull(image?.image ?? '', { auth, signal: options.signal })
      return { imageRef: id }
    },
    removeImage: async ({ image }) => {
      await images.remove(image?.image ?? '')
      return {}
    },
    imageFsInfo: async () => {
      const { bytes, inodes } = await images.usage()
      const usage: FilesystemUsage = {
        timestamp: BigInt(Date.now()) * 1_000_000n,
        fsId: { mountpoint: images.root },
        usedBytes: { value: BigInt(bytes) },
        inodesUsed: { value: BigInt(inodes) },
      }
      return { imageFilesystems: [usage], containerFilesystems: [usage] }
    },
  }
}

function imageOf({ id, repoTags, repoDigests, size, config, pinned }: ImageRecord): Image {
  const [user = ''] = (config.User ?? '').split(':')
  const isNumber = /^\d+$/.test(user)
  return Image.fromPartial({
    id,
    repoTags,
    repoDigests,
    size: BigInt(size),
    ...(isNumber && { uid: { value: BigInt(user) } }),
    username: isNumber ? '' : user,
    spec: { image: id },
    pinned,
  })
}
