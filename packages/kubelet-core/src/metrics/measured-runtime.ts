// A runtime whose calls are counted and timed.
import { type CallOptions, CriError, type ImageService, type RuntimeService } from '@nodelet/cri-api'
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

type Call = (request: unknown, options?: CallOptions) => Promise<unknown>

/** What lasts as long as somebody else says, or has an end of its own. */
const unlimited: ReadonlySet<string> = new Set(['pull_image', 'checkpoint_container'])

/** How long a call may take, in milliseconds; undefined: as long as it takes. */
function limitOf(operation: string, request: unknown, limitMs: number): number | undefined {
  if (unlimited.has(operation)) return undefined
  if (operation === 'run_podsandbox') return 2 * limitMs
  const { timeout = 0n } = request as { timeout?: bigint }
  if (operation === 'exec_sync' && timeout === 0n) return undefined
  return operation === 'stop_container' || operation === 'exec_sync' ? limitMs + Number(timeout) * 1000 : limitMs
}

/**
 * The same service; what it answers and throws passes through.
 * @param limitMs KubeletConfiguration `runtimeRequestTimeout`: a call that takes longer fails with DEADLINE_EXCEEDED. Making a
 *   sandbox may take twice as long, ending a container its grace longer, a command its timeout; pulls have no limit
 */
export function measured<Service extends RuntimeService | ImageService>(
  service: Service,
  metrics: KubeletMetrics,
  limitMs: number = 120_000,
): Service {
  const all = Object.entries(service).map(([name, call]: [string, unknown]) => {
    const operation = operations[name]
    return [name, operation === undefined ? call : timed(operation, (call as Call).bind(service), metrics, limitMs)]
  })
  return Object.fromEntries(all) as Service
}

function timed(operation_type: string, call: Call, metrics: KubeletMetrics, limitMs: number): Call {
  return async (request, options) => {
    const beganMs = performance.now()
    metrics.runtimeOperations.inc({ operation_type })
    try {
      return await withLimit(operation_type, limitOf(operation_type, request, limitMs), options, async (limited) =>
        call(request, limited),
      )
    } catch (error) {
      metrics.runtimeErrors.inc({ operation_type })
      throw error
    } finally {
      metrics.runtimeSeconds.observe({ operation_type }, (performance.now() - beganMs) / 1000)
    }
  }
}

async function withLimit<T>(
  operation: string,
  ms: number | undefined,
  options: CallOptions | undefined,
  call: (options: CallOptions | undefined) => Promise<T>,
): Promise<T> {
  if (ms === undefined || !Number.isFinite(ms) || ms > longestTimerMs) return call(options)
  const late = new AbortController()
  const timer = setTimeout(
    () => late.abort(new CriError('DEADLINE_EXCEEDED', `${operation}: no answer in ${ms / 1000} s`)),
    ms,
  )
  const signal = options?.signal ? AbortSignal.any([options.signal, late.signal]) : late.signal
  try {
    return await call({ ...options, signal })
  } finally {
    clearTimeout(timer)
  }
}

const longestTimerMs = 2 ** 31 - 1
