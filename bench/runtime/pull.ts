// Pulling a big image: speed, memory, and how late the event loop came.
import { ImageSpec } from '@nodelet/cri-api'
import type { Peer } from './peers.ts'
import { cpuOf, forgetPeak, memoryOf, peakOf } from './processes.ts'

export interface PullFigures {
  seconds: number
  cpu: number
  /** MiB: at the most, and how much more that is than before. */
  peak: number
  growth: number
  loopDelay: Record<string, number> | undefined
}

export async function pullBig({ client, pid, loopDelay }: Peer, image: string): Promise<PullFigures> {
  const { imageService } = client
  const spec = ImageSpec.fromPartial({ image })
  await loopDelay?.()
  forgetPeak(pid)
  const before = memoryOf([pid]).resident
  const cpu = cpuOf(pid)
  const since = performance.now()
  await imageService.pullImage({ image: spec, auth: undefined, sandboxConfig: undefined })
  const seconds = (performance.now() - since) / 1000
  const figures = {
    seconds,
    cpu: cpuOf(pid) - cpu,
    peak: peakOf(pid),
    growth: peakOf(pid) - before,
    loopDelay: await loopDelay?.(),
  }
  await imageService.removeImage({ image: spec })
  return figures
}
