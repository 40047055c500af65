// A runtime whose calls are counted and timed.
import type { ImageService, RuntimeService } from '@nodelet/cri-api'
import type { KubeletMetrics } from './kubelet-metrics.ts'

/** CRI method → operation type, as dashboards know them. Streams are not timed. */
const operations: Readonly<Record<string, string>> = {
  version: 'version',
  status: 'status',
  runtimeConfig: 'runtime_config',
  updateRuntimeConfig: 'update_runtime_config',
  runPodSandbox: 'run_podsandbox',
  stopPodSandbox: 'stop_podsandbox',
  removePodSandbox: 'remove_podsandbox',
  podSandboxStatus: 'podsandbox_status',
  listPodSandbox: 'list_podsandbox',
  createContainer: 'create_container',
  startContainer: 'start_container',
  stopContainer: 'stop_container',
  removeContainer: 'remove_container',
  listContainers: 'list_containers',
  containerStatus: 'container_status',
  updateContainerResources: 'update_container',
  reopenContainerLog: 'reopen_container_log',
  execSync: 'exec_sync',
  exec: 'exec',
  attach: 'attach',
  portForward: 'port_forward',
  containerStats: 'container_stats',
  listContainerStats: 'list_container_stats',
  podSandboxStats: 'podsandbox_stats',
  listPodSandboxStats: 'list_podsandbox_stats',
  checkpointContainer: 'checkpoint_container',
  listMetricDescriptors: 'list_metric_descriptors',
  listPodSandboxMetrics: 'list_podsandbox_metrics',
  pullImage: 'pull_image',
  imageStatus: 'image_status',
  listImages: 'list_images',
  removeImage: 'remove_image',
  imageFsInfo: 'image_fs_info',
}

type Call = (request: unknown, options?: unknown) => Promise<unknown>

/** The same service; what it answers and throws passes through. */
export function measured<Service extends RuntimeService | ImageService>(
  service: Service,
  metrics: KubeletMetrics,
): Service {
  const all = Object.entries(service).map(([name, call]: [string, unknown]) => {
    const operation = operations[name]
    return [name, operation === undefined ? call : timed(operation, (call as Call).bind(service), metrics)]
  })
  return Object.fromEntries(all) as Service
}

function timed(operation_type: string, call: Call, metrics: KubeletMetrics): Call {
  return async (request, options) => {
    const beganMs = performance.now()
    metrics.runtimeOperations.inc({ operation_type })
    try {
      return await call(request, options)
    } catch (error) {
      metrics.runtimeErrors.inc({ operation_type })
      throw error
    } finally {
      metrics.runtimeSeconds.observe({ operation_type }, (performance.now() - beganMs) / 1000)
    }
  }
}
