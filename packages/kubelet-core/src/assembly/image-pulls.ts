// Images for pods as the configuration wants them pulled: how many at a time, how often, and who may use them.
import { type ImageService, ImageSpec } from '@nodelet/cri-api'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import type { EventRecorder } from '../events.ts'
import { withTag } from '../pod/image-reference.ts'
import { createImages, type Images, type ImagesOptions } from '../pod/images.ts'
import { withPullRate } from '../pod/pull-rate.ts'
import { createImageGuard, type ImageGuard } from '../pull-records/guard.ts'
import { openPullRecords } from '../pull-records/records.ts'

export interface ImagePullsOptions {
  rootDir: string
  configuration: KubeletConfiguration
  imageService: ImageService
  events: EventRecorder
  pulled: ImagesOptions['pulled']
  clock: Clock
}

export interface ImagePulls {
  images: Images
  /** Forgets what is recorded of images that are gone. */
  prune: ImageGuard['prune']
  /** Finishes what a crash interrupted. */
  start(): Promise<void>
}

export function createImagePulls(options: ImagePullsOptions): ImagePulls {
  const { rootDir, configuration, imageService, events, pulled, clock } = options
  const policy = {
    policy: configuration.imagePullCredentialsVerificationPolicy,
    allowlist: configuration.preloadedImagesVerificationAllowlist ?? [],
  }
  const guard = createImageGuard(openPullRecords(rootDir), policy, clock)
  const rate = { qps: configuration.registryPullQPS, burst: configuration.registryBurst }
  const service = withPullRate(imageService, rate, clock)
  const parallel = parallelPulls(configuration)
  return {
    images: createImages({ service, guard, events, parallel, ...(pulled && { pulled }), clock }),
    prune: guard.prune,
    start: async () =>
      guard.start(async (image) => {
        const spec = ImageSpec.create({ image: withTag(image) })
        return (await imageService.imageStatus({ image: spec, verbose: false })).image?.id
      }),
  }
}

/** One when serial, else as many as are allowed. */
const parallelPulls = ({ serializeImagePulls, maxParallelImagePulls }: KubeletConfiguration): number =>
  serializeImagePulls ? 1 : (maxParallelImagePulls ?? Infinity)
