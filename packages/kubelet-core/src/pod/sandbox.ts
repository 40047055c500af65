// Making the sandbox of a pod.
import type { IDMapping, PodSandboxConfig } from '@nodelet/cri-api'
import { mkdir } from 'node:fs/promises'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { podResources } from '../resource/pod-resources.ts'
import { podDns } from './dns.ts'
import { podHostname } from './hostname.ts'
import { sandboxConfig } from './sandbox-config.ts'
import type { PodServices } from './services.ts'
import { markTold } from './told.ts'

/** The sandbox as it is to be made, with its cgroup; DNS that had to be cut is told as an event. */
export async function prepareSandbox(
  services: PodServices,
  pod: Pod,
  attempt: number,
  cgroupParent: string,
): Promise<PodSandboxConfig> {
  const { node, events } = services
  const { clusterDns, clusterDomain } = node
  const dns = await reported(services, pod, async () =>
    podDns(pod, { node: await services.resolver(), clusterDns, clusterDomain }),
  )
  for (const { reason, message } of dns.warnings) events.record(pod, { type: 'Warning', reason, message })
  return sandboxConfig(pod, {
    attempt,
    hostname: await reported(services, pod, async () =>
      pod.spec?.hostNetwork ? '' : podHostname(pod, clusterDomain).hostname,
    ),
    dns: dns.config,
    podLogsDir: node.podLogsDir,
    cgroupParent,
    resources: podResources(withoutOverhead(pod), node.cfsQuota, node.pageSizes),
    overhead: pod.spec?.overhead && podResources(onlyOverhead(pod), node.cfsQuota),
    ids: await reported(services, pod, async () => userIds(services, pod)),
  })
}

const withoutOverhead = (pod: Pod): Pod => {
  if (!pod.spec?.overhead) return pod
  const { overhead: _, ...spec } = pod.spec
  return { ...pod, spec }
}

/** As one container that asks for just that. */
const onlyOverhead = ({ spec }: Pod): Pod => {
  const amounts = { ...spec?.overhead }
  return { spec: { containers: [{ name: 'overhead', resources: { requests: amounts, limits: amounts } }] } }
}

/** @throws Error after the event `FailedCreatePodSandBox` */
export async function createSandbox(services: PodServices, pod: Pod, config: PodSandboxConfig): Promise<void> {
  return reported(services, pod, async () => {
    const runtimeHandler = await services.runtimeHandler(pod)
    await mkdir(config.logDirectory, { recursive: true, mode: 0o755 })
    await counted(services, pod, runtimeHandler, async () => services.runtime.runPodSandbox({ config, runtimeHandler }))
  })
}

async function counted(
  { metrics }: PodServices,
  pod: Pod,
  runtime_handler: string,
  run: () => Promise<unknown>,
): Promise<void> {
  const hasUsers = pod.spec?.hostUsers === false
  const container_type = 'pod_sandbox'
  metrics.startedPods.inc()
  metrics.startedContainers.inc({ container_type })
  if (hasUsers) metrics.startedUserNamespacedPods.inc()
  const took = metrics.runSandboxSeconds.startTimer({ runtime_handler })
  try {
    await run()
    took()
  } catch (error) {
    metrics.runSandboxErrors.inc({ runtime_handler })
    metrics.startedPodErrors.inc()
    metrics.startedContainerErrors.inc({ container_type, code: 'CreatePodSandboxError' })
    if (hasUsers) metrics.startedUserNamespacedPodErrors.inc()
    throw error
  }
}

async function reported<T>({ events }: PodServices, pod: Pod, step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const message = `Failed to create pod sandbox: ${text}`
    events.record(pod, { type: 'Warning', reason: 'FailedCreatePodSandBox', message })
    throw markTold(error)
  }
}

/** The ids of a pod that asks not to run with the node's. */
async function userIds(services: PodServices, pod: Pod): Promise<IDMapping | undefined> {
  if (pod.spec?.hostUsers !== false) return undefined
  const handler = await services.runtimeHandler(pod)
  const features = services.handlerFeatures(handler)
  if (!features) throw new Error(`the handler "${handler}" is not known`)
  if (!features.userNamespaces) throw new Error(`runtime handler "${handler}" does not support user namespaces`)
  return services.userNamespaces.take(pod.metadata?.uid ?? '')
}
