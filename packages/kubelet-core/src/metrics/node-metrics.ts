// Metrics of the node, its runtime and the kubelet's own process.
import type { Counter, Gauge, Histogram } from 'prom-client'
import type { Families } from './families.ts'

export interface NodeMetrics {
  runtimeOperations: Counter<'operation_type'>
  runtimeErrors: Counter<'operation_type'>
  runtimeSeconds: Histogram<'operation_type'>
  runSandboxSeconds: Histogram<'runtime_handler'>
  runSandboxErrors: Counter<'runtime_handler'>
  relistSeconds: Histogram
  relistIntervalSeconds: Histogram
  lastSeenSeconds: Gauge
  relistPodSeconds: Histogram
  eventStreams: Counter
  eventStreamErrors: Counter
  eventDelaySeconds: Histogram
  cgroupSeconds: Histogram<'operation_type'>
  collectedImages: Counter<'reason'>
  shutdownStartSeconds: Gauge
  shutdownEndSeconds: Gauge
  httpRequests: Counter<HttpLabel>
  httpSeconds: Histogram<HttpLabel>
  httpInflight: Gauge<HttpLabel>
  storageSeconds: Histogram<'volume_plugin' | 'operation_name' | 'status' | 'migrated'>
  volumeTotalSeconds: Histogram<'plugin_name' | 'operation_name'>
  /** Volumes that a new kubelet found on disk. */
  reconstructedVolumes: Record<'all' | 'failed', Counter>
  /** Those of them that nobody could make anything of, when they are unmounted. */
  forceCleanedVolumes: Record<'all' | 'failed', Counter>
  volumes: Gauge<'plugin_name' | 'state'>
  certificates: Gauge<'signer_name' | 'state'>
  orphanVolumes: Record<'cleaned' | 'failed', Gauge>
  volumeStatsSeconds: Histogram<'metric_source'>
  clientTtlSeconds: Gauge
  servingTtlSeconds: Gauge
  clientRenewErrors: Counter
  servingRenewErrors: Counter
  nodeName: Gauge<'node'>
  cgroupVersion: Gauge
  buildInfo: Gauge<'git_version' | 'major' | 'minor' | 'platform'>
  features: Gauge<'name' | 'stage'>
  eventLoopSeconds: Gauge<'quantile'>
  cpuSeconds: Counter
  residentBytes: Gauge
  virtualBytes: Gauge
  openFiles: Gauge
  mostFiles: Gauge
  startSeconds: Gauge
}

const storageBuckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600]

export type HttpLabel = 'method' | 'path' | 'server_type' | 'long_running'

const operation = 'operation_type'
const httpLabels: HttpLabel[] = ['method', 'path', 'server_type', 'long_running']

export function nodeMetrics({ counter, gauge, histogram }: Families): NodeMetrics {
  return {
    runtimeOperations: counter('kubelet_runtime_operations_total', 'Calls of the runtime', [operation]),
    runtimeErrors: counter('kubelet_runtime_operations_errors_total', 'Calls of the runtime that failed', [operation]),
    runtimeSeconds: histogram('kubelet_runtime_operations_duration_seconds', 'How long calls of the runtime take', [
      operation,
    ]),
    runSandboxSeconds: histogram('kubelet_run_podsandbox_duration_seconds', 'How long sandboxes take to be made', [
      'runtime_handler',
    ]),
    runSandboxErrors: counter('kubelet_run_podsandbox_errors_total', 'Sandboxes that could not be made', [
      'runtime_handler',
    ]),
    relistSeconds: histogram(
      'kubelet_pleg_relist_duration_seconds',
      'How long a look at all pods of the runtime takes',
    ),
    relistIntervalSeconds: histogram(
      'kubelet_pleg_relist_interval_seconds',
      'Time between looks at all pods of the runtime; its events tell what happens in between',
    ),
    lastSeenSeconds: gauge(
      'kubelet_pleg_last_seen_seconds',
      'When all pods of the runtime were last looked at, in seconds since the epoch',
    ),
    relistPodSeconds: histogram(
      'kubelet_pleg_pod_relist_duration_seconds',
      'How long a look at one pod of the runtime takes',
    ),
    eventStreams: counter(
      'kubelet_evented_pleg_connection_success_count',
      'How often the events of the runtime were begun to be followed',
    ),
    eventStreamErrors: counter(
      'kubelet_evented_pleg_connection_error_count',
      'How often the events of the runtime broke off',
    ),
    eventDelaySeconds: histogram(
      'kubelet_evented_pleg_connection_latency_seconds',
      'How old events of the runtime are when they arrive',
    ),
    cgroupSeconds: histogram('kubelet_cgroup_manager_duration_seconds', 'How long work on cgroups of pods takes', [
      operation,
    ]),
    collectedImages: counter('kubelet_image_garbage_collected_total', 'Images that were removed', ['reason']),
    shutdownStartSeconds: gauge(
      'kubelet_graceful_shutdown_start_time_seconds',
      'When pods were begun to be ended for a shutdown, in seconds since the epoch',
    ),
    shutdownEndSeconds: gauge(
      'kubelet_graceful_shutdown_end_time_seconds',
      'When all pods had been ended for a shutdown, in seconds since the epoch',
    ),
    httpRequests: counter('kubelet_http_requests_total', "Requests to the kubelet's server", httpLabels),
    httpSeconds: histogram(
      'kubelet_http_requests_duration_seconds',
      "How long requests to the kubelet's server take",
      httpLabels,
    ),
    httpInflight: gauge('kubelet_http_inflight_requests', "Requests to the kubelet's server under way", httpLabels),
    storageSeconds: histogram(
      'storage_operation_duration_seconds',
      'How long work on volumes takes',
      ['volume_plugin', 'operation_name', 'status', 'migrated'],
      storageBuckets,
    ),
    volumeTotalSeconds: histogram(
      'volume_operation_total_seconds',
      'How long pods wait for volumes, from when they first want them',
      ['plugin_name', 'operation_name'],
      storageBuckets,
    ),
    reconstructedVolumes: {
      all: counter('reconstruct_volume_operations_total', 'Volumes that a new kubelet found on disk'),
      failed: counter(
        'reconstruct_volume_operations_errors_total',
        'Volumes that a new kubelet found on disk and does not know what to make of',
      ),
    },
    forceCleanedVolumes: {
      all: counter(
        'force_cleaned_failed_volume_operations_total',
        'Volumes that nobody knows what to make of, and that were unmounted',
      ),
      failed: counter(
        'force_cleaned_failed_volume_operation_errors_total',
        'Volumes that nobody knows what to make of, and that could not be unmounted',
      ),
    },
    volumes: gauge('volume_manager_total_volumes', 'Volumes of pods: those that are wanted and those that are there', [
      'plugin_name',
      'state',
    ]),
    certificates: gauge(
      'kubelet_podcertificate_states',
      'Certificates in volumes of pods, by who signs them and how they are',
      ['signer_name', 'state'],
    ),
    orphanVolumes: {
      cleaned: gauge(
        'kubelet_orphan_pod_cleaned_volumes',
        'Pods that are gone whose volumes were removed when that was last looked for',
      ),
      failed: gauge(
        'kubelet_orphan_pod_cleaned_volumes_errors',
        'Pods that are gone whose volumes could not be removed when that was last looked for',
      ),
    },
    volumeStatsSeconds: histogram(
      'kubelet_volume_metric_collection_duration_seconds',
      'How long it takes to measure a volume',
      ['metric_source'],
    ),
    clientTtlSeconds: gauge(
      'kubelet_certificate_manager_client_ttl_seconds',
      'How long the certificate is good by which the API server knows the node; infinite when it is not renewed',
    ),
    servingTtlSeconds: gauge(
      'kubelet_certificate_manager_server_ttl_seconds',
      "How long the certificate of the kubelet's server is good; infinite when it is not renewed",
    ),
    clientRenewErrors: counter(
      'kubelet_certificate_manager_client_expiration_renew_errors',
      'Failures to renew the certificate by which the API server knows the node',
    ),
    servingRenewErrors: counter(
      'kubelet_server_expiration_renew_errors',
      "Failures to renew the certificate of the kubelet's server",
    ),
    nodeName: gauge('kubelet_node_name', "The node's name, as a label; always 1", ['node']),
    cgroupVersion: gauge('kubelet_cgroup_version', 'The hierarchy of cgroups: 1 or 2'),
    buildInfo: gauge('kubernetes_build_info', 'What this is, as labels; always 1', [
      'git_version',
      'major',
      'minor',
      'platform',
    ]),
    features: gauge('kubernetes_feature_enabled', 'Features of Kubernetes: 1 for what is done here, else 0', [
      'name',
      'stage',
    ]),
    eventLoopSeconds: gauge('nodelet_event_loop_delay_seconds', 'Delay of the event loop since the last scrape', [
      'quantile',
    ]),
    cpuSeconds: counter('process_cpu_seconds_total', 'CPU time of this process, in seconds'),
    residentBytes: gauge('process_resident_memory_bytes', 'Resident memory of this process, in bytes'),
    virtualBytes: gauge('process_virtual_memory_bytes', 'Virtual memory of this process, in bytes'),
    mostFiles: gauge('process_max_fds', 'File descriptors that this process may have open'),
    openFiles: gauge('process_open_fds', 'File descriptors that this process has open'),
    startSeconds: gauge('process_start_time_seconds', 'When this process started, in seconds since the epoch'),
  }
}
