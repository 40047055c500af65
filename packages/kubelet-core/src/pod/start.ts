// Starting one container: image, environment, mounts, then create and start, then its postStart hook.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type ContainerConfig, type ImageSpec, type PodSandboxConfig } from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { linkLog } from '../container-log/symlink.ts'
import { runHook } from '../probe/hook.ts'
import { tellOfFallback } from './hook-fallback.ts'
import type { StartAction } from './actions.ts'
import { containerConfig, type ResourceFacts } from './container-config.ts'
import { containerEnvironment, readEnvironmentSources } from './container-environment.ts'
import { withDevices } from './device-config.ts'
import { killContainer, podGrace } from './kill.ts'
import { asksRecursive } from './mount-rules.ts'
import { containerDevices, containerMounts } from './mounts.ts'
import { podLogFolder } from './sandbox-config.ts'
import type { RuntimePod, RuntimeSandbox } from './runtime-pod.ts'
import type { ImageUser } from './security-context.ts'
import type { PodServices } from './services.ts'

/** A step of a start that failed: the container waits with this reason. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly reason: string

  constructor(reason: string, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.reason = reason
  }
}

export interface StartFacts {
  sandbox: RuntimeSandbox
  sandboxConfig: PodSandboxConfig
  runtime: RuntimePod
  image: { spec: ImageSpec; user: ImageUser }
  volumes: ReadonlyMap<string, string>
  /** Of volumes that are images, by name. */
  volumeImages: ReadonlyMap<string, ImageSpec>
  /** What the container's status last said of restarts, when the runtime has nothing of it. */
  told: number | undefined
}

/** For events: `spec.containers{NAME}` and the like. */
export function fieldPathOf(pod: Pod, name: string): string {
  const has = (list: readonly { name: string }[] | undefined): boolean =>
    list?.some((one) => one.name === name) ?? false
  if (has(pod.spec?.initContainers)) return `spec.initContainers{${name}}`
  if (has(pod.spec?.ephemeralContainers)) return `spec.ephemeralContainers{${name}}`
  return `spec.containers{${name}}`
}

/** @returns the container's ID; its postStart hook has not run yet. @throws StartError */
export async function startContainer(
  services: PodServices,
  pod: Pod,
  { container, kind, previous }: StartAction,
  facts: StartFacts,
): Promise<string> {
  const { runtime, events, metrics } = services
  const { id: podSandboxId } = facts.sandbox
  const fieldPath = fieldPathOf(pod, container.name)
  const attempt = previous ? previous.attempt + 1 : await firstAttempt(services, pod, container, facts.told)
  const targetId = kind === 'ephemeral' ? targetOf(pod, container, facts.runtime) : ''
  const container_type = containerTypes[kind]
  const step = async <T>(code: string, run: () => Promise<T>): Promise<T> => {
    try {
      return await run()
    } catch (error) {
      metrics.startedContainerErrors.inc({ container_type, code })
      throw new StartError(code, error)
    }
  }
  metrics.startedContainers.inc({ container_type })
  const config = await step('CreateContainerConfigError', async () =>
    configure(services, pod, container, attempt, targetId, facts),
  )
  const { requested, mounted, failed } = metrics.imageVolumes
  requested.inc(facts.volumeImages.size)
  const { containerId } = await step('CreateContainerError', async () =>
    runtime.createContainer({ podSandboxId, config, sandboxConfig: facts.sandboxConfig }).catch((error: unknown) => {
      failed.inc(facts.volumeImages.size)
      throw error
    }),
  )
  mounted.inc(facts.volumeImages.size)
  await step('PreStartHookError', async () =>
    services.devices.preStart(pod.metadata?.uid ?? '', container.name, AbortSignal.timeout(preStartMs)),
  )
  events.record(pod, { type: 'Normal', reason: 'Created', message: 'Container created', fieldPath })
  await step('RunContainerError', async () => runtime.startContainer({ containerId }))
  events.record(pod, { type: 'Normal', reason: 'Started', message: 'Container started', fieldPath })
  const { logDirectory } = facts.sandboxConfig
  await linkToLog(services, pod, container.name, containerId, join(logDirectory, config.logPath))
  return containerId
}

/** Collectors of logs miss one without a link; the container itself does not. */
async function linkToLog(
  { node, log }: PodServices,
  { metadata }: Pod,
  container: string,
  id: string,
  logPath: string,
): Promise<void> {
  const { name: pod = '', namespace = '' } = metadata ?? {}
  try {
    await linkLog(node.podLogsDir, { pod, namespace, container, id, logPath })
  } catch (error) {
    log.warn({ err: error, pod, namespace, container }, 'the link to a log could not be made')
  }
}

/** A failed hook ends the container. @throws StartError */
export async function runPostStart(
  services: PodServices,
  pod: Pod,
  container: Container,
  containerId: string,
  podIP: string,
  signal: AbortSignal,
): Promise<void> {
  const hook = container.lifecycle?.postStart
  if (!hook) return
  try {
    const target = { pod, container, containerId, podIP, startedAt: services.clock.now() }
    await runHook(hook, target, { exec: services.exec, signal, fellBack: tellOfFallback(services, pod) })
  } catch (error) {
    signal.throwIfAborted()
    const fieldPath = fieldPathOf(pod, container.name)
    services.events.record(pod, {
      type: 'Warning',
      reason: 'FailedPostStartHook',
      message: 'PostStartHook failed',
      fieldPath,
    })
    const now = await services.reader.read(pod.metadata?.uid ?? '')
    const runtime = now.containers.find(({ id }) => id === containerId)
    const message = 'FailedPostStartHook'
    if (runtime) await killContainer(services, pod, runtime, { graceSeconds: podGrace(pod), podIP, message })
    throw new StartError('PostStartHookError', error)
  }
}

/** How long a device plugin may take before a start, in milliseconds. */
const preStartMs = 30_000

const containerTypes = { regular: 'container', init: 'init_container', ephemeral: 'ephemeral_container' } as const

export const resourceFacts = (
  { node, cgroups, cpus, memory }: Pick<PodServices, 'node' | 'cgroups' | 'cpus' | 'memory'>,
  { metadata }: Pod,
  container: string,
): ResourceFacts => ({
  cpuset: cpus.cpusetOf(metadata?.uid ?? '', container),
  isExclusive: cpus.exclusiveOf(metadata?.uid ?? '', container).length > 0,
  memset: memory.memsOf(metadata?.uid ?? '', container),
  nodeMemoryBytes: node.memoryBytes,
  cgroupVersion: cgroups?.version ?? 1,
  singleProcessOOMKill: node.singleProcessOOMKill,
  cfsQuota: node.cfsQuota,
  pageSizes: node.pageSizes,
  swap: node.swap,
  throttling: node.throttling,
})

async function canRecurse(services: PodServices, pod: Pod): Promise<boolean> {
  return services.handlerFeatures(await services.runtimeHandler(pod))?.recursiveReadOnlyMounts ?? false
}

async function configure(
  services: PodServices,
  pod: Pod,
  container: Container,
  attempt: number,
  targetId: string,
  { sandbox, sandboxConfig, image, volumes, volumeImages }: StartFacts,
): Promise<ContainerConfig> {
  const { node } = services
  const podIPs = pod.spec?.hostNetwork ? node.hostIPs : sandbox.ips
  const [ids] = sandboxConfig.linux?.securityContext?.namespaceOptions?.usernsOptions?.uids ?? []
  const sources = await readEnvironmentSources(pod, container, services.objects, volumes)
  const fields = { nodeName: node.nodeName, hostIPs: node.hostIPs, podIPs, allocatable: node.allocatable }
  const environment = containerEnvironment(pod, container, sources, fields)
  const config = containerConfig(pod, container, {
    attempt,
    image: image.spec,
    imageUser: image.user,
    environment,
    mounts: await containerMounts(services, pod, container, {
      volumes,
      images: volumeImages,
      environment,
      podIPs,
      ids,
      labelled: services.volumes.labelled?.(pod.metadata?.uid ?? ''),
      canRecurse: asksRecursive(container) && (await canRecurse(services, pod)),
    }),
    devices: containerDevices(pod, container, volumes),
    ...resourceFacts(services, pod, container.name),
    seccompDefault: node.seccompDefault,
    seccompFolder: join(node.rootDir, 'seccomp'),
    thermalThrottle: node.thermalThrottle,
    volumeGroups: services.volumes.groups?.(pod.metadata?.uid ?? ''),
    targetId,
    ids,
  })
  const answers = services.devices.answers(pod.metadata?.uid ?? '', container.name)
  return withDevices(config, answers, services.claims.cdiIds(pod, container))
}

function targetOf(pod: Pod, container: Container, runtime: RuntimePod): string {
  const target = pod.spec?.ephemeralContainers?.find(({ name }) => name === container.name)?.targetContainerName
  return (target && runtime.containers.find(({ name, phase }) => name === target && phase === 'running')?.id) || ''
}

/** Where the runtime remembers nothing: one more than the status told or the logs show; 0 for a new container. */
async function firstAttempt(
  { node }: PodServices,
  pod: Pod,
  container: Container,
  told: number | undefined,
): Promise<number> {
  const folder = join(podLogFolder(pod, node.podLogsDir), container.name)
  let names: string[] = []
  try {
    names = await readdir(folder)
  } catch {
    // No log yet: the ordinary first start.
  }
  const logged = names.flatMap((name) => (/^\d+\.log/.test(name) ? [Number.parseInt(name, 10)] : []))
  return Math.max(-1, told ?? -1, ...logged) + 1
}
