// The resize of one pod: what it is given, and how its containers come to have it.
import { isUnimplemented, LinuxContainerResources } from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { countRequested } from '../metrics/resize-metrics.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podLevelOf } from '../resource/pod-level.ts'
import { type PodResources, podResources } from '../resource/pod-resources.ts'
import {
  type Allocation,
  allocationIn,
  allocationOf,
  changesOf,
  wholePod,
  differs,
  withAllocation,
} from '../resize/allocation.ts'
import { infeasibleDetail } from '../resize/decide.ts'
import { containerResources } from './container-config.ts'
import { containerOf } from './kill.ts'
import type { RuntimeContainer, RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import { resourceFacts } from './start.ts'
import type { PodState } from './state.ts'
import { markTold } from './told.ts'

/** The pod with what it may have now. When its spec asks for more than that, it may have to wait: its status tells. */
export async function allot(services: PodServices, state: PodState, pod: Pod): Promise<Pod> {
  if (!state.allocated) {
    const { resized } = await state.journal()
    const first = resized?.allocated ?? { ...allocationOf(pod), ...allocationIn(pod.status) }
    state.allocated = first
    state.actuated = resized?.actuated ?? first
    // One that was cut short goes on.
    if (differs(withAllocation(pod, first), state.actuated)) state.resize.progress = {}
  }
  const { allocated } = state
  if (!differs(pod, allocated)) {
    services.resizer.forget(state.uid)
    state.resize.pending = undefined
    return pod
  }
  const given = withAllocation(pod, allocated)
  const wish = JSON.stringify(allocationOf(pod))
  if (wish !== state.resize.wish) {
    state.resize.wish = wish
    countRequested(services.metrics, allocated, allocationOf(pod))
  }
  const pending = services.resizer.want(pod, given)
  if (pending) {
    if (pending.message !== state.resize.pending?.message) {
      if (pending.reason === 'Infeasible') {
        services.metrics.infeasibleResizes.inc({ reason_detail: infeasibleDetail(pending) })
      }
      const message = `Pod resize ${pending.reason}: ${pending.message}`
      state.tell(pod, { type: 'Warning', reason: `Resize${pending.reason}`, message })
    }
    state.resize.pending = pending
    return given
  }
  state.resize = { wish, progress: {} }
  state.allocated = allocationOf(pod)
  await rememberResize(state)
  services.admission.adopt(pod)
  state.tell(pod, { type: 'Normal', reason: 'ResizeStarted', message: 'Pod resize started' })
  return pod
}

async function rememberResize(state: PodState): Promise<void> {
  const { allocated = {}, actuated = {} } = state
  await state.remember({ resized: { allocated, actuated } })
}

/** A container was made with what the pod was given. */
export async function wasStarted(state: PodState, container: Container): Promise<void> {
  const before = state.actuated?.[container.name]
  state.actuated = { ...state.actuated, [container.name]: container.resources ?? {} }
  if (changesOf(before, container.resources).length > 0) await rememberResize(state)
}

/** Brings running containers to what the pod was given. What fails is told in the status and tried again. */
export async function applyResize(
  services: PodServices,
  state: PodState,
  pod: Pod,
  runtime: RuntimePod,
): Promise<void> {
  const due = dueIn(state, pod, runtime)
  if (!state.resize.progress || (due.length === 0 && !isPodDue(state, pod))) return
  const beganMs = services.clock.now()
  const tell = (success: boolean): void =>
    services.metrics.resizeMilliseconds.observe({ success: String(success) }, services.clock.now() - beganMs)
  try {
    await apply(services, state, pod, due)
    tell(true)
  } catch (error) {
    tell(false)
    const message = (error as Error).message
    if (message !== state.resize.progress.error) {
      state.tell(pod, { type: 'Warning', reason: 'ResizeError', message: `Pod resize error: ${message}` })
    }
    state.resize.progress = { error: message }
    throw markTold(error)
  }
}

/** Tells that all that runs has what the pod was given. */
export function endResize(state: PodState, pod: Pod, runtime: RuntimePod): void {
  if (!state.resize.progress || dueIn(state, pod, runtime).length > 0 || isPodDue(state, pod)) return
  state.resize.progress = undefined
  state.tell(pod, { type: 'Normal', reason: 'ResizeCompleted', message: 'Pod resize completed' })
}

/** The pod as a whole is to have other amounts. */
const isPodDue = (state: PodState, pod: Pod): boolean => {
  const ofPod = podLevelOf(pod)
  return ofPod !== undefined && changesOf(state.actuated?.[wholePod], ofPod).length > 0
}

interface Due {
  runtime: RuntimeContainer
  container: Container
}

function dueIn(state: PodState, pod: Pod, { containers }: RuntimePod): Due[] {
  return containers.flatMap((runtime) => {
    const container = containerOf(pod, runtime.name)
    if (runtime.phase !== 'running' || !container) return []
    return changesOf(state.actuated?.[runtime.name], container.resources).length > 0 ? [{ runtime, container }] : []
  })
}

/** The pod's cgroup grows first and shrinks last; of containers, those that shrink come first. */
async function apply(services: PodServices, state: PodState, pod: Pod, due: readonly Due[]): Promise<void> {
  const { cgroups, node } = services
  const before = podResources(withAllocation(pod, state.actuated ?? {}), node.cfsQuota, node.pageSizes)
  const after = podResources(pod, node.cfsQuota, node.pageSizes)
  for (const one of due) await checkMemory(services, state, one)
  await cgroups?.create(pod, largest(before, after))
  for (const { runtime, container } of due.toSorted((a, b) => growth(state, a) - growth(state, b))) {
    const linux = containerResources(pod, container, resourceFacts(services, pod, container.name))
    // Zero would leave the quota as it is.
    const cpuQuota = linux.cpuQuota === 0n ? -1n : linux.cpuQuota
    await services.runtime.updateContainerResources({
      containerId: runtime.id,
      linux: { ...linux, cpuQuota },
      annotations: {},
    })
    await wasStarted(state, container)
  }
  await cgroups?.create(pod, after)
  const ofPod = podLevelOf(pod)
  if (ofPod && isPodDue(state, pod)) {
    state.actuated = { ...state.actuated, [wholePod]: ofPod }
    await rememberResize(state)
  }
  await tellSandbox(services, state, after)
}

const limitOf = (resources: Allocation[string] | undefined, name: 'cpu' | 'memory'): bigint =>
  parseMilliQuantity(resources?.limits?.[name] ?? '0', `limits.${name}`)

function growth(state: PodState, { container }: Due): number {
  const grows = (['cpu', 'memory'] as const).some(
    (name) => limitOf(container.resources, name) > limitOf(state.actuated?.[container.name], name),
  )
  return grows ? 1 : 0
}

/** A limit below what is in use would have the kernel kill the container. @throws Error then */
async function checkMemory({ runtime: service }: PodServices, state: PodState, one: Due): Promise<void> {
  const [wanted, held] = [
    limitOf(one.container.resources, 'memory'),
    limitOf(state.actuated?.[one.container.name], 'memory'),
  ]
  if (wanted === 0n || (held !== 0n && wanted >= held)) return
  const { stats } = await service.containerStats({ containerId: one.runtime.id })
  const used = stats?.memory?.usageBytes?.value ?? stats?.memory?.workingSetBytes?.value ?? 0n
  const limit = wanted / 1000n
  if (used >= limit) {
    throw new Error(
      `container "${one.container.name}": attempting to set memory limit (${limit}) below current usage (${used})`,
    )
  }
}

/** Undefined is no limit, the most there is. */
function largest(a: PodResources, b: PodResources): PodResources {
  const most = (x: number | undefined, y: number | undefined): number | undefined =>
    x === undefined || y === undefined ? undefined : Math.max(x, y)
  const [cpuQuotaUs, memoryBytes] = [most(a.cpuQuotaUs, b.cpuQuotaUs), most(a.memoryBytes, b.memoryBytes)]
  const cpuPeriodUs = b.cpuPeriodUs ?? a.cpuPeriodUs
  return {
    cpuShares: Math.max(a.cpuShares, b.cpuShares),
    ...(cpuQuotaUs !== undefined && { cpuQuotaUs, ...(cpuPeriodUs !== undefined && { cpuPeriodUs }) }),
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(b.hugePages && { hugePages: b.hugePages }),
  }
}

/** Some runtimes want to know of the whole pod too. */
async function tellSandbox({ runtime, reader }: PodServices, state: PodState, after: PodResources): Promise<void> {
  const podSandboxId = reader.last(state.uid)?.sandboxes[0]?.id
  if (podSandboxId === undefined) return
  const linux = {
    cpuShares: BigInt(after.cpuShares),
    cpuQuota: BigInt(after.cpuQuotaUs ?? 0),
    cpuPeriod: BigInt(after.cpuPeriodUs ?? 100_000),
    memoryLimitInBytes: BigInt(after.memoryBytes ?? 0),
  }
  try {
    await runtime.updatePodSandboxResources({ podSandboxId, resources: LinuxContainerResources.fromPartial(linux) })
  } catch (error) {
    if (!isUnimplemented(error)) throw error
  }
}
