// Readings as CRI's metrics.
import { MetricType } from '@nodelet/cri-api'
import type { Metric, MetricDescriptor } from '@nodelet/cri-api'
import { metricFamilies } from './families.ts'
import type { Subject } from './subject.ts'

/** Whose a metric is; empty parts are a pod's. */
export interface MetricOwner {
  pod: string
  namespace: string
  container: string
  id: string
  image: string
}

const baseLabels = ['pod', 'namespace', 'container', 'id', 'image'] as const

/** What ListMetricDescriptors answers. */
export const metricDescriptors: MetricDescriptor[] = metricFamilies.map(({ name, help, labels }) => ({
  name,
  help,
  labelKeys: [...baseLabels, ...labels],
}))

/** All metrics of a container or a pod, each as it is described. */
export function metricsOf(subject: Subject, owner: MetricOwner): Metric[] {
  const base = baseLabels.map((label) => owner[label])
  return metricFamilies.flatMap((family) =>
    family.read(subject).map(([labels, value]) => ({
      name: family.name,
      timestamp: 0n,
      metricType: family.name.endsWith('_total') ? MetricType.COUNTER : MetricType.GAUGE,
      labelValues: [...base, ...labels],
      value: { value: BigInt(value) },
    })),
  )
}
