// An HTTPS hook whose server speaks plain HTTP.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { PodServices } from './services.ts'

/** Tells users of it, and counts it. */
export const tellOfFallback =
  ({ events, metrics }: Pick<PodServices, 'events' | 'metrics'>, pod: Pod): ((host: string) => void) =>
  (host) => {
    metrics.hookFallbacks.inc()
    const message = `request to HTTPS lifecycle hook ${host} got HTTP response, retry with HTTP succeeded`
    events.record(pod, { type: 'Warning', reason: 'LifecycleHTTPFallback', message })
  }
