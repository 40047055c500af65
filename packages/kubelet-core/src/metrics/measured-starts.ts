// How long pods, their statuses and their images take, as metrics.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import { createStartTimes, type Span } from '../pod/start-times.ts'
import type { ObservedStatus } from '../pod/status.ts'
import { imageSizeLabel } from './image-size.ts'
import type { PodMetrics } from './pod-metrics.ts'

export interface MeasuredStarts {
  /** A pod has had an image pulled, of so many bytes. */
  pulled(podUid: string, bytes: bigint, span: Span): void
  /** The API server has the status since now; for so long it was not the newest. */
  written(pod: Pod, status: ObservedStatus, tookMs: number): void
  begin(podUid: string): void
  forget(podUid: string): void
}

export function measuredStarts(metrics: PodMetrics, clock: Clock): MeasuredStarts {
  const times = createStartTimes()
  let hasNetworkStart = false
  return {
    pulled(podUid, bytes, span) {
      times.pulled(podUid, span)
      const seconds = (span.endedMs - span.beganMs) / 1000
      metrics.imagePullSeconds.observe({ image_size_in_bytes: imageSizeLabel(bytes) }, seconds)
    },
    written(pod, status, tookMs) {
      metrics.podStatusSyncSeconds.observe(tookMs / 1000)
      const start = times.written(pod, status, clock.now())
      if (!start) return
      metrics.podStartTotalSeconds.observe(start.totalSeconds)
      metrics.podStartSliSeconds.observe(start.ownSeconds)
      if (hasNetworkStart || pod.spec?.hostNetwork) return
      hasNetworkStart = true
      metrics.firstNetworkPodStartSeconds.set(start.ownSeconds)
    },
    begin: times.begin,
    forget: times.forget,
  }
}
