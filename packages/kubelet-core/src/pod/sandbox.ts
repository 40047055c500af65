// Making the sandbox of a pod.
import type { PodSandboxConfig } from '@nodelet/cri-api'
import { mkdir } from 'node:fs/promises'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { podResources } from '../resource/pod-resources.ts'
import { podDns } from './dns.ts'
import { podHostname } from './hostname.ts'
import { sandboxConfig } from './sandbox-config.ts'
import type { PodServices } from './services.ts'

/** The sandbox as it is to be made, with its cgroup; DNS that had to be cut is told as an event. */
export async function prepareSandbox(
  services: PodServices,
  pod: Pod,
  attempt: number,
  cgroupParent: string,
): Promise<PodSandboxConfig> {
  const { node, events } = services
  const { clusterDns, clusterDomain } = node
  const dns = podDns(pod, { node: await services.resolver(), clusterDns, clusterDomain })
  for (const { reason, message } of dns.warnings) events.record(pod, { type: 'Warning', reason, message })
  return sandboxConfig(pod, {
    attempt,
    hostname: pod.spec?.hostNetwork ? '' : podHostname(pod, clusterDomain).hostname,
    dns: dns.config,
    podLogsDir: node.podLogsDir,
    cgroupParent,
    resources: podResources(pod),
  })
}

/** @throws Error after the event `FailedCreatePodSandBox` */
export async function createSandbox(services: PodServices, pod: Pod, config: PodSandboxConfig): Promise<void> {
  try {
    refuseUnsupported(pod)
    const runtimeHandler = await services.runtimeHandler(pod)
    await mkdir(config.logDirectory, { recursive: true, mode: 0o755 })
    await services.runtime.runPodSandbox({ config, runtimeHandler })
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const message = `Failed to create pod sandbox: ${text}`
    services.events.record(pod, { type: 'Warning', reason: 'FailedCreatePodSandBox', message })
    throw error
  }
}

/** What would silently be less than the pod asks for. */
function refuseUnsupported({ spec }: Pod): void {
  if (spec?.hostUsers === false)
    throw new Error('spec.hostUsers: false: user namespaces are not supported on this node')
  if (spec?.resourceClaims?.length)
    throw new Error('spec.resourceClaims: dynamic resources are not supported on this node')
}
