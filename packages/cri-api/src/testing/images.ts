// Images that exist by name only: an ImageService in memory.
import { createHash } from 'node:crypto'
import { CriError } from '../errors.ts'
import { type Image, Image as ImageMessage, ListImagesResponse, PullImageResponse } from '../gen/runtime.ts'
import type { ImageService } from '../services.ts'

/** An image service in memory, and how its runtime finds the image of a container. */
export interface MemoryImages {
  service: ImageService
  /** The image of an ID, ID prefix, tag or digest, if it was pulled. */
  find(reference: string): Image | undefined
}

/** Pulls any well-formed reference without a registry: the image has names, an ID and the size of its config, no layers. */
export function createMemoryImages(): MemoryImages {
  const images = new Map<string, Image>()
  const find = (reference: string) => images.values().find((image) => matches(image, reference))
  const list = (reference?: string) =>
    structuredClone([...images.values()].filter((image) => !reference || matches(image, reference)))
  const service: ImageService = {
    listImages: async ({ filter }) => ListImagesResponse.fromPartial({ images: list(filter?.image?.image) }),
    async *streamImages({ filter }) {
      const found = list(filter?.image?.image)
      if (found.length > 0) yield { images: found }
    },
    imageStatus: async ({ image }) => ({ image: structuredClone(find(image?.image ?? '')), info: {} }),
    pullImage: async ({ image }) => {
      if (!image?.image) throw new CriError('INVALID_ARGUMENT', 'cannot pull an image: the request names none')
      const pulled = imageOf(image.image)
      images.set(pulled.id, pulled)
      return PullImageResponse.fromPartial({ imageRef: pulled.id })
    },
    removeImage: async ({ image }) => {
      const found = find(image?.image ?? '')
      if (found) images.delete(found.id)
      return {}
    },
    imageFsInfo: () =>
      Promise.reject(new CriError('UNIMPLEMENTED', 'imageFsInfo: images in memory have no file system')),
  }
  return { service, find }
}

/** `busybox` → `docker.io/library/busybox:latest`: the full form of a tag or digest reference. */
export function canonicalReference(reference: string): string {
  const slash = reference.indexOf('/')
  const first = slash < 0 ? '' : reference.slice(0, slash)
  const hasRegistry = /[.:]/.test(first) || first === 'localhost'
  const full = hasRegistry ? reference : `docker.io/${slash < 0 ? 'library/' : ''}${reference}`
  const tagged = full.includes('@') || full.lastIndexOf(':') > full.lastIndexOf('/')
  return tagged ? full : `${full}:latest`
}

function imageOf(reference: string): Image {
  const name = canonicalReference(reference)
  const [tagged = name, digest] = name.split('@')
  const colon = tagged.lastIndexOf(':')
  const repository = colon > tagged.lastIndexOf('/') ? tagged.slice(0, colon) : tagged
  const config = JSON.stringify({ name })
  return ImageMessage.fromPartial({
    id: sha256(config),
    repoTags: digest ? [] : [name],
    repoDigests: [`${repository}@${digest ?? sha256(`manifest of ${config}`)}`],
    size: BigInt(config.length),
    spec: { image: name },
  })
}

const sha256 = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`

function matches(image: Image, reference: string): boolean {
  if (!reference) return false
  const hex = reference.replace(/^sha256:/, '')
  if (/^[0-9a-f]+$/.test(hex) && image.id.startsWith(`sha256:${hex}`)) return true
  const name = canonicalReference(reference)
  return image.repoTags.includes(name) || image.repoDigests.includes(name)
}
