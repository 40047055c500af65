// The kubelet's own metrics, `/metrics` and `/metrics/probes`: names, labels and buckets that dashboards know.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Buckets of most durations, in seconds. */
const usual = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const startBuckets = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
]

export interface KubeletMetrics {
  /** Of `/metrics`. */
  registry: Registry
  /** Of `/metrics/probes`. */
  probes: Registry
  runtimeOperations: Counter<'operation_type'>
  runtimeErrors: Counter<'operation_type'>
  runtimeSeconds: Histogram<'operation_type'>
  runSandboxSeconds: Histogram<'runtime_handler'>
  runSandboxErrors: Counter<'runtime_handler'>
  startedPods: Counter<never>
  startedPodErrors: Counter<never>
  startedContainers: Counter<'container_type'>
  startedContainerErrors: Counter<'container_type' | 'code'>
  podStartSeconds: Histogram<never>
  podWorkerSeconds: Histogram<'operation_type'>
  evictions: Counter<'eviction_signal'>
  hookFallbacks: Counter<never>
  preemptions: Counter<'preemption_signal'>
  /** The pod resources API: calls in all, and of each kind. */
  podResources: Record<'total' | 'list' | 'allocatable' | 'get', Counter<'server_api_version'>>
  podResourcesErrors: Record<'list' | 'allocatable' | 'get', Counter<'server_api_version'>>
  topologyRequests: Counter<never>
  topologyErrors: Counter<never>
  topologyMilliseconds: Histogram<never>
  rejections: Counter<'reason'>
  collectedImages: Counter<'reason'>
  nodeName: Gauge<'node'>
  cgroupVersion: Gauge<never>
  runningPods: Gauge<never>
  runningContainers: Gauge<'container_state'>
  desiredPods: Gauge<'static'>
  activePods: Gauge<'static'>
  workingPods: Gauge<'lifecycle' | 'config' | 'static'>
  buildInfo: Gauge<'git_version' | 'major' | 'minor' | 'platform'>
  eventLoopSeconds: Gauge<'quantile'>
  cpuSeconds: Counter<never>
  residentBytes: Gauge<never>
  startSeconds: Gauge<never>
  probeResults: Counter<'probe_type' | 'result' | 'container' | 'pod' | 'namespace' | 'pod_uid'>
  probeSeconds: Histogram<'probe_type' | 'container' | 'pod' | 'namespace'>
}

const version = 'server_api_version'

/** A set of its own: several kubelets may live in one process. */
export function createKubeletMetrics(): KubeletMetrics {
  const registry = new Registry()
  const probes = new Registry()
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Counter({ name, help, labelNames, registers: [registry] })
  const gauge = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Gauge({ name, help, labelNames, registers: [registry] })
  const histogram = <Label extends string>(name: string, help: string, labelNames: Label[] = [], buckets = usual) =>
    new Histogram({ name, help, labelNames, buckets, registers: [registry] })
  return {
    registry,
    probes,
    runtimeOperations: counter('kubelet_runtime_operations_total', 'Calls of the runtime', ['operation_type']),
    runtimeErrors: counter('kubelet_runtime_operations_errors_total', 'Calls of the runtime that failed', [
      'operation_type',
    ]),
    runtimeSeconds: histogram('kubelet_runtime_operations_duration_seconds', 'How long calls of the runtime take', [
      'operation_type',
    ]),
    runSandboxSeconds: histogram('kubelet_run_podsandbox_duration_seconds', 'How long sandboxes take to be made', [
      'runtime_handler',
    ]),
    runSandboxErrors: counter('kubelet_run_podsandbox_errors_total', 'Sandboxes that could not be made', [
      'runtime_handler',
    ]),
    startedPods: counter('kubelet_started_pods_total', 'Pods whose sandbox was made'),
    startedPodErrors: counter('kubelet_started_pods_errors_total', 'Pods whose sandbox could not be made'),
    startedContainers: counter('kubelet_started_containers_total', 'Containers that were started', ['container_type']),
    startedContainerErrors: counter('kubelet_started_containers_errors_total', 'Containers that could not be started', [
      'container_type',
      'code',
    ]),
    podStartSeconds: histogram(
      'kubelet_pod_start_duration_seconds',
      'From when the kubelet first sees a pod until it runs',
      [],
      startBuckets,
    ),
    podWorkerSeconds: histogram('kubelet_pod_worker_duration_seconds', 'How long turns of pod workers take', [
      'operation_type',
    ]),
    hookFallbacks: counter(
      'kubelet_lifecycle_handler_http_fallbacks_total',
      'HTTPS lifecycle hooks that were answered in plain HTTP, and then done by HTTP',
    ),
    evictions: counter('kubelet_evictions', 'Pods evicted, by the signal that called for it', ['eviction_signal']),
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
    preemptions: counter('kubelet_preemptions', 'Pods ended for a critical one, by what it lacked', [
      'preemption_signal',
    ]),
    rejections: counter('kubelet_admission_rejections_total', 'Pods that this node refused', ['reason']),
    collectedImages: counter('kubelet_image_garbage_collected_total', 'Images that were removed', ['reason']),
    nodeName: gauge('kubelet_node_name', "The node's name, as a label; always 1", ['node']),
    cgroupVersion: gauge('kubelet_cgroup_version', 'The hierarchy of cgroups: 1 or 2'),
    runningPods: gauge('kubelet_running_pods', 'Pods with a ready sandbox'),
    runningContainers: gauge('kubelet_running_containers', 'Containers of the runtime', ['container_state']),
    desiredPods: gauge('kubelet_desired_pods', 'Pods that the sources want', ['static']),
    activePods: gauge('kubelet_active_pods', 'Pods that run or are to run', ['static']),
    workingPods: gauge('kubelet_working_pods', 'Pods by how far their life has come', [
      'lifecycle',
      'config',
      'static',
    ]),
    buildInfo: gauge('kubernetes_build_info', 'What this is, as labels; always 1', [
      'git_version',
      'major',
      'minor',
      'platform',
    ]),
    eventLoopSeconds: gauge('nodelet_event_loop_delay_seconds', 'Delay of the event loop since the last scrape', [
      'quantile',
    ]),
    cpuSeconds: counter('process_cpu_seconds_total', 'CPU time of this process, in seconds'),
    residentBytes: gauge('process_resident_memory_bytes', 'Resident memory of this process, in bytes'),
    startSeconds: gauge('process_start_time_seconds', 'When this process started, in seconds since the epoch'),
    probeResults: new Counter({
      name: 'prober_probe_total',
      help: 'Probes by what they came to',
      labelNames: ['probe_type', 'result', 'container', 'pod', 'namespace', 'pod_uid'],
      registers: [probes],
    }),
    probeSeconds: new Histogram({
      name: 'prober_probe_duration_seconds',
      help: 'How long probes take that did not fail',
      labelNames: ['probe_type', 'container', 'pod', 'namespace'],
      buckets: usual,
      registers: [probes],
    }),
  }
}
