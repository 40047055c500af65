// Metrics of pods and their containers.
import type { Counter, Gauge, Histogram } from 'prom-client'
import type { Families } from './families.ts'

const startBuckets = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
]
const pullBuckets = [1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600]
const statusBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60]

export interface PodMetrics {
  startedPods: Counter
  startedPodErrors: Counter
  /** Of pods with a user namespace of their own. */
  startedUserNamespacedPods: Counter
  startedUserNamespacedPodErrors: Counter
  startedContainers: Counter<'container_type'>
  startedContainerErrors: Counter<'container_type' | 'code'>
  terminatedContainers: Counter<'container_type' | 'exit_code' | 'reason'>
  restartedPods: Counter<'static'>
  orphanedRuntimePods: Counter
  containersPerPod: Histogram
  podStartSeconds: Histogram
  podStartSliSeconds: Histogram
  podStartTotalSeconds: Histogram
  firstNetworkPodStartSeconds: Gauge
  podWorkerSeconds: Histogram<'operation_type'>
  podWorkerStartSeconds: Histogram
  podStatusSyncSeconds: Histogram
  imagePullSeconds: Histogram<'image_size_in_bytes'>
  imageVolumes: Record<'requested' | 'mounted' | 'failed', Counter>
  hookFallbacks: Counter
  sleepsCutShort: Counter
  evictions: Counter<'eviction_signal'>
  evictionStatsSeconds: Histogram<'eviction_signal'>
  preemptions: Counter<'preemption_signal'>
  rejections: Counter<'reason'>
  /** What containers were asked to have instead of what they have. */
  requestedResizes: Counter<'resource' | 'requirement' | 'operation'>
  resizeMilliseconds: Histogram<'success'>
  infeasibleResizes: Counter<'reason_detail'>
  deferredAcceptedResizes: Counter<'retry_trigger'>
  pendingResizes: Gauge<'reason'>
  inProgressResizes: Gauge
  runningPods: Gauge
  runningContainers: Gauge<'container_state'>
  desiredPods: Gauge<'static'>
  activePods: Gauge<'static'>
  mirrorPods: Gauge
  ephemeralContainers: Gauge
  workingPods: Gauge<'lifecycle' | 'config' | 'static'>
}

export function podMetrics({ counter, gauge, histogram }: Families): PodMetrics {
  return {
    startedPods: counter('kubelet_started_pods_total', 'Pods whose sandbox was begun'),
    startedPodErrors: counter('kubelet_started_pods_errors_total', 'Pods whose sandbox could not be made'),
    startedUserNamespacedPods: counter(
      'kubelet_started_user_namespaced_pods_total',
      'Pods with users of their own whose sandbox was begun',
    ),
    startedUserNamespacedPodErrors: counter(
      'kubelet_started_user_namespaced_pods_errors_total',
      'Pods with users of their own whose sandbox could not be made',
    ),
    startedContainers: counter('kubelet_started_containers_total', 'Containers that were started', ['container_type']),
    startedContainerErrors: counter('kubelet_started_containers_errors_total', 'Containers that could not be started', [
      'container_type',
      'code',
    ]),
    terminatedContainers: counter('kubelet_terminated_containers_total', 'Containers that ended', [
      'container_type',
      'exit_code',
      'reason',
    ]),
    restartedPods: counter('kubelet_restarted_pods_total', 'Pods that were deleted and came again with the same UID', [
      'static',
    ]),
    orphanedRuntimePods: counter(
      'kubelet_orphaned_runtime_pods_total',
      'Pods found in the runtime that nobody wanted, and ended',
    ),
    containersPerPod: histogram('kubelet_containers_per_pod_count', 'Containers of pods', [], [1, 2, 4, 8, 16]),
    podStartSeconds: histogram(
      'kubelet_pod_start_duration_seconds',
      'From when the kubelet first sees a pod until it runs',
      [],
      startBuckets,
    ),
    podStartSliSeconds: histogram(
      'kubelet_pod_start_sli_duration_seconds',
      'From the creation of a pod until the API server knows that it runs, without pulls of images and init containers',
      [],
      startBuckets,
    ),
    podStartTotalSeconds: histogram(
      'kubelet_pod_start_total_duration_seconds',
      'From the creation of a pod until the API server knows that it runs',
      [],
      startBuckets,
    ),
    firstNetworkPodStartSeconds: gauge(
      'kubelet_first_network_pod_start_sli_duration_seconds',
      'What the first pod with a network of its own took to start, without pulls of images and init containers',
    ),
    podWorkerSeconds: histogram('kubelet_pod_worker_duration_seconds', 'How long turns of pod workers take', [
      'operation_type',
    ]),
    podWorkerStartSeconds: histogram(
      'kubelet_pod_worker_start_duration_seconds',
      'From when the kubelet first sees a pod until its worker begins',
    ),
    podStatusSyncSeconds: histogram(
      'kubelet_pod_status_sync_duration_seconds',
      "From a change of a pod's status until the API server has it",
      [],
      statusBuckets,
    ),
    imagePullSeconds: histogram(
      'kubelet_image_pull_duration_seconds',
      'How long pulls of images take',
      ['image_size_in_bytes'],
      pullBuckets,
    ),
    imageVolumes: {
      requested: counter('kubelet_image_volume_requested_total', 'Image volumes that containers asked for'),
      mounted: counter('kubelet_image_volume_mounted_succeed_total', 'Image volumes of containers that were made'),
      failed: counter(
        'kubelet_image_volume_mounted_errors_total',
        'Image volumes of containers that could not be made',
      ),
    },
    hookFallbacks: counter(
      'kubelet_lifecycle_handler_http_fallbacks_total',
      'HTTPS lifecycle hooks that were answered in plain HTTP, and then done by HTTP',
    ),
    sleepsCutShort: counter(
      'kubelet_sleep_action_terminated_early_total',
      'Lifecycle hooks that were to sleep longer than the grace of their container',
    ),
    evictions: counter('kubelet_evictions', 'Pods evicted, by the signal that called for it', ['eviction_signal']),
    evictionStatsSeconds: histogram(
      'kubelet_eviction_stats_age_seconds',
      'How old a measurement is when a pod is evicted for it',
      ['eviction_signal'],
    ),
    preemptions: counter('kubelet_preemptions', 'Pods ended for a critical one, by what it lacked', [
      'preemption_signal',
    ]),
    rejections: counter('kubelet_admission_rejections_total', 'Pods that this node refused', ['reason']),
    requestedResizes: counter(
      'kubelet_container_requested_resizes_total',
      'Amounts of containers that were asked to be others',
      ['resource', 'requirement', 'operation'],
    ),
    resizeMilliseconds: histogram(
      'kubelet_pod_resize_duration_milliseconds',
      'How long it takes to bring a pod to new amounts',
      ['success'],
      [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000],
    ),
    infeasibleResizes: counter(
      'kubelet_pod_infeasible_resizes_total',
      'Resizes of pods that this node can never grant',
      ['reason_detail'],
    ),
    deferredAcceptedResizes: counter(
      'kubelet_pod_deferred_accepted_resizes_total',
      'Resizes of pods that were granted after they had to wait',
      ['retry_trigger'],
    ),
    pendingResizes: gauge('kubelet_pod_pending_resizes', 'Pods whose resize is not begun', ['reason']),
    inProgressResizes: gauge('kubelet_pod_in_progress_resizes', 'Pods whose resize is begun and not done'),
    runningPods: gauge('kubelet_running_pods', 'Pods with a ready sandbox'),
    runningContainers: gauge('kubelet_running_containers', 'Containers of the runtime', ['container_state']),
    desiredPods: gauge('kubelet_desired_pods', 'Pods that the sources want', ['static']),
    activePods: gauge('kubelet_active_pods', 'Pods that run or are to run', ['static']),
    mirrorPods: gauge('kubelet_mirror_pods', 'Static pods that the API server shows'),
    ephemeralContainers: gauge('kubelet_managed_ephemeral_containers', 'Ephemeral containers of pods'),
    workingPods: gauge('kubelet_working_pods', 'Pods by how far their life has come', [
      'lifecycle',
      'config',
      'static',
    ]),
  }
}
