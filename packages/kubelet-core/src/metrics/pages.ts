// The pages of metrics that the kubelet's server shows.
import { readdirSync, readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isUnimplemented, type RuntimeService } from '@nodelet/cri-api'
import type { Feature } from '../configuration/features.ts'
import type { Logger } from '../log.ts'
import type { MachineFacts } from '../node/facts.ts'
import type { HealthCheck } from '../server/health.ts'
import type { StatsProvider } from '../stats/provider.ts'
import { cadvisorPage, type RuntimeMetrics } from './cadvisor-page.ts'
import type { KubeletMetrics } from './kubelet-metrics.ts'
import { type CountedPod, type CountFacts, countPods } from './pod-counts.ts'
import { resourcePage } from './resource-page.ts'
import { showVolumes } from './volume-metrics.ts'
import type { MeteredVolume } from '../storage/meter.ts'

export type MetricsPage = 'kubelet' | 'cadvisor' | 'resource' | 'probes' | 'slis'

export interface MetricsPagesOptions {
  metrics: KubeletMetrics
  stats: Pick<StatsProvider, 'summary'>
  runtime: Pick<RuntimeService, 'listMetricDescriptors' | 'listPodSandboxMetrics'>
  machine: MachineFacts
  nodeName: string
  /** For instance `v1.36.0`. */
  version: string
  features: readonly Feature[]
  cgroupVersion: 1 | 2
  pods(): readonly CountedPod[]
  counts: CountFacts
  /** Of all pods, as last measured. */
  volumes(): readonly MeteredVolume[]
  health(): readonly HealthCheck[]
  /** When certificates end that are renewed, in milliseconds since the epoch. */
  expires(): { client: number | undefined; server: number | undefined }
  log: Logger
}

export interface MetricsPages {
  /** @throws Error when the runtime does not say what the page needs */
  read(page: MetricsPage, signal: AbortSignal): Promise<string>
  close(): void
}

export function createMetricsPages(options: MetricsPagesOptions): MetricsPages {
  const { metrics, stats, runtime, machine, nodeName, version, features, cgroupVersion, log } = options
  // A timer that fires more often would itself be a load on an idle node.
  const delay = monitorEventLoopDelay({ resolution: 100 })
  delay.enable()
  metrics.nodeName.set({ node: nodeName }, 1)
  metrics.cgroupVersion.set(cgroupVersion)
  metrics.mostFiles.set(numberIn('/proc/self/limits', /^Max open files\s+(\d+)/m))
  for (const { name, stage, isOn } of features) metrics.features.set({ name, stage }, isOn ? 1 : 0)
  metrics.startSeconds.set(Date.now() / 1000 - process.uptime())
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(version) ?? []
  metrics.buildInfo.set({ git_version: version, major, minor, platform: `linux/${machine.architecture}` }, 1)

  const kubelet = async (): Promise<string> => {
    countPods(metrics, options.pods(), options.counts)
    showVolumes(metrics, options.volumes())
    measureProcess(metrics, delay)
    const { client = Infinity, server = Infinity } = options.expires()
    metrics.clientTtlSeconds.set((client - Date.now()) / 1000)
    metrics.servingTtlSeconds.set((server - Date.now()) / 1000)
    return metrics.registry.metrics()
  }
  return {
    async read(page, signal) {
      if (page === 'kubelet') return kubelet()
      if (page === 'probes') return metrics.probes.metrics()
      if (page === 'slis') return slis(metrics, options.health())
      if (page === 'resource') {
        // A page that says that it failed is better than none: metrics-server looks for that.
        const summary = await stats.summary(true, signal).catch((error: unknown) => {
          log.warn({ err: error }, 'what is used cannot be read: /metrics/resource says so')
          return undefined
        })
        return resourcePage(summary)
      }
      const [summary, own] = await Promise.all([stats.summary(false, signal), runtimeMetrics(runtime, signal)])
      return cadvisorPage(machine, summary, own)
    },
    close: () => delay.disable(),
  }
}

/** Undefined when the runtime has none. */
async function runtimeMetrics(
  runtime: MetricsPagesOptions['runtime'],
  signal: AbortSignal,
): Promise<RuntimeMetrics | undefined> {
  try {
    const [{ descriptors }, { podMetrics }] = await Promise.all([
      runtime.listMetricDescriptors({}, { signal }),
      runtime.listPodSandboxMetrics({}, { signal }),
    ])
    return { descriptors, pods: podMetrics }
  } catch (error) {
    if (isUnimplemented(error)) return undefined
    throw error
  }
}

async function slis(
  { slis: registry, healthChecks, healthCheckResults }: KubeletMetrics,
  checks: readonly HealthCheck[],
): Promise<string> {
  for (const { name, problem } of checks) {
    const labels = { name, type: 'healthz' }
    healthChecks.set(labels, problem === undefined ? 1 : 0)
    healthCheckResults.inc({ ...labels, status: problem === undefined ? 'success' : 'error' })
  }
  return registry.metrics()
}

/** Of this process, as the kernel writes it; what has no limit has none. */
const numberIn = (path: string, line: RegExp): number => Number(line.exec(readFileSync(path, 'utf8'))?.[1] ?? Infinity)

function measureProcess(metrics: KubeletMetrics, delay: ReturnType<typeof monitorEventLoopDelay>): void {
  const { user, system } = process.cpuUsage()
  metrics.cpuSeconds.reset()
  metrics.cpuSeconds.inc((user + system) / 1e6)
  metrics.residentBytes.set(process.memoryUsage.rss())
  metrics.virtualBytes.set(1024 * numberIn('/proc/self/status', /^VmSize:\s+(\d+) kB$/m))
  metrics.openFiles.set(readdirSync('/proc/self/fd').length)
  for (const [quantile, percent] of [
    ['0.5', 50],
    ['0.99', 99],
    ['1', 100],
  ] as const) {
    metrics.eventLoopSeconds.set({ quantile }, delay.percentile(percent) / 1e9)
  }
  delay.reset()
}
