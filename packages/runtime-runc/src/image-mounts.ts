// Images that a container mounts as volumes.
import { CriError, ImageSpec, MountPropagation } from '@nodelet/cri-api'
import type { ContainerConfig, Mount } from '@nodelet/cri-api'
import { existsSync } from 'node:fs'
import { resolveInRoot } from './container/rootfs.ts'
import type { Images } from './image/images-api.ts'
import type { SandboxFacts } from './spec/facts.ts'

/** A configuration whose image mounts say what they are of, and where each is, by container path. */
export interface ImageMounts {
  config: ContainerConfig
  sources: Record<string, string>
}

/**
 * Mounts the images, once per pod, and looks up the paths in them.
 *
 * @throws CriError UNKNOWN with `ImageVolumeMountFailed: ` before the reason, which kubelet shows as the container's.
 */
export async function mountImages(
  images: Pick<Images, 'resolve' | 'prepareView'>,
  { id: sandboxId, userNamespace, selinux }: Pick<SandboxFacts, 'id' | 'userNamespace' | 'selinux'>,
  config: ContainerConfig,
): Promise<ImageMounts> {
  const sources: Record<string, string> = {}
  const mounts: Mount[] = []
  for (const mount of config.mounts) {
    if (!isImageMount(mount)) {
      mounts.push(mount)
      continue
    }
    const image = mount.image?.image ?? ''
    const found = images.resolve(image)
    if (!found) throw failed(mount, `image "${image}" is not here: pull it first`)
    const spec = { ...ImageSpec.fromPartial(mount.image ?? {}), imageRef: found.id }
    sources[mount.containerPath] = await sourceOf(mount, async () =>
      images.prepareView(sandboxId, found.id, { userNamespace, mountLabel: selinux?.mount }),
    )
    mounts.push({ ...mount, image: spec })
  }
  return { config: { ...config, mounts }, sources }
}

const isImageMount = ({ hostPath, image }: Mount): boolean =>
  hostPath === '' && image !== undefined && image.image !== ''

async function sourceOf(mount: Mount, prepare: () => Promise<string>): Promise<string> {
  if (!mount.readonly) throw failed(mount, 'images are mounted read-only: set readonly')
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
    throw failed(mount, 'images have no propagation but PROPAGATION_PRIVATE')
  }
  let view: string
  try {
    view = await prepare()
  } catch (cause) {
    throw failed(mount, (cause as Error).message, cause)
  }
  const path = resolveInRoot(view, mount.imageSubPath)
  if (!existsSync(path)) throw failed(mount, `the image has no "${mount.imageSubPath}"`)
  return path
}

function failed({ containerPath }: Mount, reason: string, cause?: unknown): CriError {
  return new CriError('UNKNOWN', `ImageVolumeMountFailed: mount ${containerPath}: ${reason}`, { cause })
}
