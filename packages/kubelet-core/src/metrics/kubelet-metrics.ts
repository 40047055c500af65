// The kubelet's own metrics, `/metrics` and `/metrics/probes`: names, labels and buckets that dashboards know.
import { type Counter, type Gauge, type Histogram, Registry } from 'prom-client'
import { clientMetrics, type ClientMetrics } from './client-metrics.ts'
import { csiMetrics, type CsiMetrics } from './csi-metrics.ts'
import { draMetrics, type DraMetrics } from './dra-metrics.ts'
import { familiesIn } from './families.ts'
import { nodeMetrics, type NodeMetrics } from './node-metrics.ts'
import { startupMetrics, type StartupMetrics } from './node-startup.ts'
import { podMetrics, type PodMetrics } from './pod-metrics.ts'
import { shareMetrics, type ShareMetrics } from './share-metrics.ts'
import { volumeMetrics, type VolumeMetrics } from './volume-metrics.ts'

export interface KubeletMetrics
  extends ClientMetrics, CsiMetrics, DraMetrics, PodMetrics, NodeMetrics, ShareMetrics, StartupMetrics, VolumeMetrics {
  /** Of `/metrics`. */
  registry: Registry
  /** Of `/metrics/probes`. */
  probes: Registry
  /** Of `/metrics/slis`. */
  slis: Registry
  healthChecks: Gauge<'name' | 'type'>
  healthCheckResults: Counter<'name' | 'type' | 'status'>
  probeResults: Counter<'probe_type' | 'result' | 'container' | 'pod' | 'namespace' | 'pod_uid'>
  probeSeconds: Histogram<'probe_type' | 'container' | 'pod' | 'namespace'>
}

/** A set of its own: several kubelets may live in one process. */
export function createKubeletMetrics(): KubeletMetrics {
  const registry = new Registry()
  const probes = new Registry()
  const families = familiesIn(registry)
  const ofProbes = familiesIn(probes)
  const slis = new Registry()
  const ofSlis = familiesIn(slis)
  return {
    registry,
    probes,
    slis,
    healthChecks: ofSlis.gauge('kubernetes_healthcheck', 'Whether a check of health is passed: 1, or 0', [
      'name',
      'type',
    ]),
    healthCheckResults: ofSlis.counter('kubernetes_healthchecks_total', 'Checks of health by what they came to', [
      'name',
      'type',
      'status',
    ]),
    ...clientMetrics(families),
    ...podMetrics(families),
    ...nodeMetrics(families),
    ...startupMetrics(families),
    ...shareMetrics(families),
    ...draMetrics(families),
    ...csiMetrics(families),
    ...volumeMetrics(families),
    probeResults: ofProbes.counter('prober_probe_total', 'Probes by what they came to', [
      'probe_type',
      'result',
      'container',
      'pod',
      'namespace',
      'pod_uid',
    ]),
    probeSeconds: ofProbes.histogram('prober_probe_duration_seconds', 'How long probes take that did not fail', [
      'probe_type',
      'container',
      'pod',
      'namespace',
    ]),
  }
}
