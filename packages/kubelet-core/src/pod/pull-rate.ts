// KubeletConfiguration `registryPullQPS` and `registryBurst`: pulls beyond are refused, and tried again later.
import type { ImageService } from '@nodelet/cri-api'
import type { Clock } from '../clock.ts'
import { createTokenBucket } from '../token-bucket.ts'

/** @param qps pulls a second; 0: as many as are asked for */
export function withPullRate(
  service: ImageService,
  { qps, burst }: { qps: number; burst: number },
  clock: Pick<Clock, 'now'>,
): ImageService {
  if (qps === 0) return service
  const mayPull = createTokenBucket(burst, 1000 / qps, clock)
  return {
    ...service,
    pullImage: async (request, options) => {
      if (!mayPull()) throw new Error('pull QPS exceeded')
      return service.pullImage(request, options)
    },
  }
}
