// The kubelet's prober: verdicts wake pods, failures are events, attempts are counted.
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { PodManager } from '../pod/manager.ts'
import { fieldPathOf } from '../pod/start.ts'
import { createProber } from '../probe/prober.ts'
import type { ExecInContainer, ProbeFailure, Prober } from '../probe/types.ts'

const probeTypes = { liveness: 'Liveness', readiness: 'Readiness', startup: 'Startup' } as const

export interface KubeletProberOptions {
  exec: ExecInContainer
  /** Asked when there is something to tell: the manager is made after the prober. */
  manager(): Pick<PodManager, 'wake' | 'get' | 'refresh'>
  events: Pick<EventRecorder, 'record'>
  metrics: KubeletMetrics
  log: Logger
}

export function createKubeletProber({ exec, manager, events, metrics, log }: KubeletProberOptions): Prober {
  const tell =
    (reason: string) =>
    ({ podUid, container, message }: ProbeFailure): void => {
      const pod = manager().get(podUid)
      if (pod) events.record(pod, { type: 'Warning', reason, message, fieldPath: fieldPathOf(pod, container) })
    }
  return createProber({
    exec,
    log,
    onAttempt({ pod, container }, kind, status, seconds) {
      const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
      const labels = { probe_type: probeTypes[kind], container: container.name, pod: name, namespace }
      const result = status === 'failure' ? 'failed' : status === 'unknown' ? 'unknown' : 'successful'
      metrics.probeResults.inc({ ...labels, result, pod_uid: uid })
      if (status !== 'failure') metrics.probeSeconds.observe(labels, seconds)
    },
    onVerdict({ podUid }) {
      manager().refresh(podUid)
      manager().wake(podUid)
    },
    onWarning: tell('ProbeWarning'),
    onFailure: tell('Unhealthy'),
  })
}
