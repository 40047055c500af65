// Metrics of what gives CPUs, memory and devices to containers.
import type { Counter, Gauge, Histogram } from 'prom-client'
import type { Families } from './families.ts'

export interface ShareMetrics {
  /** The pod resources API: calls in all, and of each kind. */
  podResources: Record<'total' | 'list' | 'allocatable' | 'get', Counter<'server_api_version'>>
  podResourcesErrors: Record<'list' | 'allocatable' | 'get', Counter<'server_api_version'>>
  topologyRequests: Counter
  topologyErrors: Counter
  topologyMilliseconds: Histogram
  cpuRequests: Counter
  cpuErrors: Counter
  sharedMilliCpus: Gauge
  exclusiveCpus: Gauge
  exclusivePerNode: Gauge<'numa_node'>
  memoryRequests: Counter
  memoryErrors: Counter
  pluginRegistrations: Counter<'resource_name'>
  deviceSeconds: Histogram<'resource_name'>
}

const version = 'server_api_version'

export function shareMetrics({ counter, gauge, histogram }: Families): ShareMetrics {
  return {
    podResources: {
      total: counter('kubelet_pod_resources_endpoint_requests_total', 'Calls of the pod resources API', [version]),
      list: counter('kubelet_pod_resources_endpoint_requests_list', 'Calls of List', [version]),
      allocatable: counter(
        'kubelet_pod_resources_endpoint_requests_get_allocatable',
        'Calls of GetAllocatableResources',
        [version],
      ),
      get: counter('kubelet_pod_resources_endpoint_requests_get', 'Calls of Get', [version]),
    },
    podResourcesErrors: {
      list: counter('kubelet_pod_resources_endpoint_errors_list', 'Calls of List that failed', [version]),
      allocatable: counter(
        'kubelet_pod_resources_endpoint_errors_get_allocatable',
        'Calls of GetAllocatableResources that failed',
        [version],
      ),
      get: counter('kubelet_pod_resources_endpoint_errors_get', 'Calls of Get that failed', [version]),
    },
    topologyRequests: counter('kubelet_topology_manager_admission_requests_total', 'Pods whose shares were looked for'),
    topologyErrors: counter('kubelet_topology_manager_admission_errors_total', 'Pods without a place for their shares'),
    topologyMilliseconds: histogram(
      'kubelet_topology_manager_admission_duration_ms',
      'How long it took to give a pod its shares',
      [],
      Array.from({ length: 15 }, (_, index) => 0.05 * 2 ** index),
    ),
    cpuRequests: counter('kubelet_cpu_manager_pinning_requests_total', 'Containers that wanted CPUs of their own'),
    cpuErrors: counter('kubelet_cpu_manager_pinning_errors_total', 'Containers that got no CPUs of their own'),
    sharedMilliCpus: gauge(
      'kubelet_cpu_manager_shared_pool_size_millicores',
      'What containers without CPUs of their own have together, in thousandths of a CPU',
    ),
    exclusiveCpus: gauge('kubelet_cpu_manager_exclusive_cpu_allocation_count', 'CPUs that one container has alone'),
    exclusivePerNode: gauge(
      'kubelet_cpu_manager_allocation_per_numa',
      'CPUs of a NUMA node that one container has alone',
      ['numa_node'],
    ),
    memoryRequests: counter('kubelet_memory_manager_pinning_requests_total', 'Containers that wanted memory by place'),
    memoryErrors: counter('kubelet_memory_manager_pinning_errors_total', 'Containers that got no memory by place'),
    pluginRegistrations: counter('kubelet_device_plugin_registration_total', 'Registrations of device plugins', [
      'resource_name',
    ]),
    deviceSeconds: histogram(
      'kubelet_device_plugin_alloc_duration_seconds',
      'How long device plugins take to give devices',
      ['resource_name'],
    ),
  }
}
