// What the server of a whole kubelet shows of it.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { expect, test } from 'vitest'
import { parseMetrics } from '../metrics/parser.ts'
import type { Kubelet } from '../../src/config.ts'
import { open, useFixture } from '../fixture.ts'

useFixture()

const server = { address: '127.0.0.1', port: 0 }
const forEverybody = {
  authentication: { anonymous: { enabled: true } },
  authorization: { mode: 'AlwaysAllow' },
} as const

async function ask({ port }: Kubelet, path: string, { method = 'GET', body = '' } = {}): Promise<string> {
  const outgoing = request({ host: '127.0.0.1', port, path, method, rejectUnauthorized: false, agent: false })
  outgoing.end(body)
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  return (await response.setEncoding('utf8').toArray()).join('')
}

test('flags, and a log that tells more or less', async () => {
  const levels: string[] = []
  const kubelet = await open({
    server,
    configuration: { ...forEverybody, maxPods: 7, logging: { verbosity: 5 } },
    setLogLevel: (level) => void levels.push(level),
  })
  const flags = (await ask(kubelet, '/flagz')).split('\n')
  expect(flags).toEqual(expect.arrayContaining(['hostname-override=node-1', 'node-ip=192.0.2.1', 'maxPods=7']))
  for (const body of ['3', '4']) await ask(kubelet, '/debug/flags/v', { method: 'PUT', body })
  expect(levels).toEqual(['debug', 'info', 'debug'])
})

test('what debugging handlers show is what the configuration says', async () => {
  const kubelet = await open({
    server,
    configuration: {
      ...forEverybody,
      enableSystemLogQuery: true,
      enableProfilingHandler: false,
      enableDebugFlagsHandler: false,
    },
  })
  expect(await ask(kubelet, '/logs/?query=a&boot=x')).toBe('boot: Invalid value: "x": is not an integer')
  expect(await ask(kubelet, '/debug/pprof/')).toBe('profiling endpoint is disabled.')
  expect(await ask(kubelet, '/debug/flags/v', { method: 'PUT', body: '1' })).toBe('flags endpoint is disabled.')
})

/** Without the prefix `kubelet_`, of what such a node can tell. */
const counters = `orphaned_runtime_pods_total restarted_pods_total started_pods_total started_pods_errors_total
  started_containers_total started_containers_errors_total terminated_containers_total started_user_namespaced_pods_total
  started_user_namespaced_pods_errors_total evented_pleg_connection_success_count evented_pleg_connection_error_count
  runtime_operations_total runtime_operations_errors_total run_podsandbox_errors_total evictions preemptions
  admission_rejections_total image_garbage_collected_total image_volume_requested_total image_volume_mounted_succeed_total
  image_volume_mounted_errors_total lifecycle_handler_http_fallbacks_total sleep_action_terminated_early_total
  device_plugin_registration_total pod_resources_endpoint_requests_total pod_resources_endpoint_requests_list
  pod_resources_endpoint_requests_get_allocatable pod_resources_endpoint_requests_get pod_resources_endpoint_errors_list
  pod_resources_endpoint_errors_get_allocatable pod_resources_endpoint_errors_get cpu_manager_pinning_requests_total
  cpu_manager_pinning_errors_total memory_manager_pinning_requests_total memory_manager_pinning_errors_total
  topology_manager_admission_requests_total topology_manager_admission_errors_total container_requested_resizes_total
  pod_infeasible_resizes_total pod_deferred_accepted_resizes_total http_requests_total
  certificate_manager_client_expiration_renew_errors server_expiration_renew_errors`
const gauges = `node_name running_pods running_containers desired_pods active_pods mirror_pods working_pods
  first_network_pod_start_sli_duration_seconds pleg_last_seen_seconds graceful_shutdown_start_time_seconds
  graceful_shutdown_end_time_seconds cgroup_version orphan_pod_cleaned_volumes orphan_pod_cleaned_volumes_errors
  cpu_manager_shared_pool_size_millicores cpu_manager_exclusive_cpu_allocation_count cpu_manager_allocation_per_numa
  pod_pending_resizes pod_in_progress_resizes http_inflight_requests certificate_manager_client_ttl_seconds
  certificate_manager_server_ttl_seconds node_startup_pre_kubelet_duration_seconds
  node_startup_pre_registration_duration_seconds node_startup_registration_duration_seconds
  node_startup_post_registration_duration_seconds node_startup_duration_seconds`
const histograms = `containers_per_pod_count pod_start_duration_seconds pod_start_sli_duration_seconds
  pod_start_total_duration_seconds pod_worker_duration_seconds pod_worker_start_duration_seconds
  pod_status_sync_duration_seconds cgroup_manager_duration_seconds pleg_relist_duration_seconds
  pleg_relist_interval_seconds pleg_pod_relist_duration_seconds evented_pleg_connection_latency_seconds
  runtime_operations_duration_seconds run_podsandbox_duration_seconds eviction_stats_age_seconds
  image_pull_duration_seconds device_plugin_alloc_duration_seconds topology_manager_admission_duration_ms
  pod_resize_duration_milliseconds http_requests_duration_seconds volume_metric_collection_duration_seconds`
const others = {
  kubernetes_build_info: 'gauge',
  kubernetes_feature_enabled: 'gauge',
  process_cpu_seconds_total: 'counter',
  process_max_fds: 'gauge',
  process_open_fds: 'gauge',
  process_resident_memory_bytes: 'gauge',
  process_start_time_seconds: 'gauge',
  process_virtual_memory_bytes: 'gauge',
  rest_client_request_duration_seconds: 'histogram',
  rest_client_requests_total: 'counter',
  csi_operations_seconds: 'histogram',
  force_cleaned_failed_volume_operation_errors_total: 'counter',
  force_cleaned_failed_volume_operations_total: 'counter',
  reconstruct_volume_operations_errors_total: 'counter',
  reconstruct_volume_operations_total: 'counter',
  storage_operation_duration_seconds: 'histogram',
  volume_manager_total_volumes: 'gauge',
  volume_operation_total_seconds: 'histogram',
}

test('metrics have the names and types of the Go kubelet', async () => {
  const kubelet = await open({
    server,
    configuration: { ...forEverybody, featureGates: { CPUManagerPolicyAlphaOptions: true } },
  })
  const page = parseMetrics(await ask(kubelet, '/metrics'))
  const of = (type: string, names: string) => names.split(/\s+/).map((name) => [`kubelet_${name}`, type] as const)
  const wanted = [
    ...of('counter', counters),
    ...of('gauge', gauges),
    ...of('histogram', histograms),
    ...Object.entries(others),
  ]
  expect(wanted.filter(([name, type]) => page.get(name)?.type !== type)).toEqual([])

  const valueOf = (name: string): number => page.get(name)?.samples[0]?.value ?? 0
  expect(valueOf('process_virtual_memory_bytes')).toBeGreaterThan(valueOf('process_resident_memory_bytes'))
  expect(valueOf('process_max_fds')).toBeGreaterThan(valueOf('process_open_fds'))
  const features = page.get('kubernetes_feature_enabled')?.samples
  for (const [name, stage, value] of [
    ['SidecarContainers', '', 1],
    ['ComponentFlagz', 'BETA', 1],
    ['SystemdWatchdog', '', 1],
    ['PodsAPI', 'ALPHA', 0],
    ['CPUManagerPolicyAlphaOptions', 'ALPHA', 1],
  ] as const) {
    expect(features).toContainEqual({ labels: { name, stage }, value })
  }
})
