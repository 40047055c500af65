// A container of a pod as CRI `ContainerConfig`. Pure.
import {
  type ContainerConfig,
  ContainerConfig as Message,
  type Device,
  type ImageSpec,
  type LinuxContainerResources,
  LinuxContainerResources as ResourcesMessage,
  type Mount,
} from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity, parseQuantity } from '../quantity.ts'
import { type CfsQuota, containerCgroupValues, defaultCfsQuota } from '../resource/container-resources.ts'
import { hugePageLimits } from '../resource/huge-pages.ts'
import { memoryHigh, type Throttling } from '../resource/memory-high.ts'
import { podLevelOf } from '../resource/pod-level.ts'
import { type SwapFacts, swapValues } from '../resource/swap.ts'
import { oomScoreAdj, qosClass } from '../resource/qos.ts'
import { isSidecar } from './actions.ts'
import { expand } from './environment.ts'
import {
  containerHash,
  containerNameLabel,
  hashAnnotation,
  podDeletionGraceAnnotation,
  podGraceAnnotation,
  podLabels,
  portsAnnotation,
  preStopAnnotation,
  restartCountAnnotation,
  terminationPathAnnotation,
  terminationPolicyAnnotation,
} from './labels.ts'
import { containerSecurityContext, type SecurityFacts } from './security-context.ts'

export interface ContainerFacts extends SecurityFacts {
  /** The restart count. */
  attempt: number
  /** What the pull answered. */
  image: ImageSpec
  environment: ReadonlyMap<string, string>
  mounts: readonly Mount[]
  devices: readonly Device[]
  nodeMemoryBytes: bigint
  /** cgroup v2: `memory.oom.group` is set there, unless `singleProcessOOMKill`. */
  cgroupVersion: 1 | 2
  singleProcessOOMKill?: boolean | undefined
  cfsQuota?: CfsQuota | undefined
  /** Sizes of huge pages that the node has, such as `2Mi`. */
  pageSizes?: readonly string[] | undefined
  /** CPUs that it may run on, as a list; undefined: the node does not say. */
  cpuset?: string | undefined
  /** NUMA nodes that its memory comes from, as a list; undefined: the node does not say. */
  memset?: string | undefined
  /** They are its own: then nothing limits their time. */
  isExclusive?: boolean | undefined
  /** Undefined where the kernel does not limit swap. */
  swap?: SwapFacts | undefined
  /** Undefined: nobody is slowed down. */
  throttling?: Throttling | undefined
}

/** @throws ContainerConfigError, or RangeError naming the field of a malformed quantity */
export function containerConfig(pod: Pod, container: Container, facts: ContainerFacts): ContainerConfig {
  const { name, command = [], args = [] } = container
  const expanded = (words: string[]): string[] => words.map((word) => expand(word, facts.environment))
  return Message.fromPartial({
    metadata: { name, attempt: facts.attempt },
    image: facts.image,
    command: expanded(command),
    args: expanded(args),
    workingDir: container.workingDir ?? '',
    envs: [...facts.environment].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: [...facts.mounts],
    devices: [...facts.devices],
    labels: { ...podLabels(pod), [containerNameLabel]: name },
    annotations: annotationsOf(pod, container, facts.attempt),
    logPath: `${name}/${facts.attempt}.log`,
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: {
      resources: containerResources(pod, container, facts),
      securityContext: containerSecurityContext(pod, container, facts),
    },
  })
}

/** From these a later kubelet rebuilds what it needs to stop the container, even when its pod is gone. */
function annotationsOf(pod: Pod, container: Container, attempt: number): Record<string, string> {
  const preStop = container.lifecycle?.preStop
  const deletionGrace = pod.metadata?.deletionGracePeriodSeconds
  const grace = pod.spec?.terminationGracePeriodSeconds
  return {
    [hashAnnotation]: containerHash(container),
    [restartCountAnnotation]: String(attempt),
    [terminationPathAnnotation]: container.terminationMessagePath ?? '/dev/termination-log',
    [terminationPolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
    ...(preStop && { [preStopAnnotation]: JSON.stringify(preStop) }),
    ...(container.ports?.length && { [portsAnnotation]: JSON.stringify(container.ports) }),
    ...(deletionGrace !== undefined && { [podDeletionGraceAnnotation]: String(deletionGrace) }),
    ...(grace !== undefined && { [podGraceAnnotation]: String(grace) }),
  }
}

const noQuota: CfsQuota = { ...defaultCfsQuota, enforced: false }

/** What of the facts decides about resources. */
export type ResourceFacts = Pick<
  ContainerFacts,
  | 'nodeMemoryBytes'
  | 'cgroupVersion'
  | 'singleProcessOOMKill'
  | 'cfsQuota'
  | 'pageSizes'
  | 'swap'
  | 'throttling'
  | 'cpuset'
  | 'memset'
  | 'isExclusive'
>

/** @throws RangeError naming the field of a malformed quantity */
export function containerResources(pod: Pod, container: Container, facts: ResourceFacts): LinuxContainerResources {
  const swap = facts.swap ? swapValues(pod, container, facts.swap, facts.cgroupVersion) : {}
  const high = facts.throttling && facts.cgroupVersion === 2 ? memoryHigh(container, facts.throttling) : undefined
  const killAll = facts.cgroupVersion === 2 && !facts.singleProcessOOMKill
  return ResourcesMessage.fromPartial({
    ...containerCgroupValues(container.resources, facts.isExclusive ? noQuota : facts.cfsQuota),
    ...(facts.cpuset !== undefined && { cpusetCpus: facts.cpuset }),
    ...(facts.memset !== undefined && { cpusetMems: facts.memset }),
    hugepageLimits: hugePageLimits(facts.pageSizes ?? [], (name) =>
      parseQuantity(container.resources?.limits?.[name] ?? '0', `limits.${name}`),
    ),
    oomScoreAdj: BigInt(oomScoreOf(pod, container, facts.nodeMemoryBytes)),
    ...swap,
    unified: {
      ...(killAll && { 'memory.oom.group': '1' }),
      ...(high !== undefined && { 'memory.high': String(high) }),
      ...swap.unified,
    },
  })
}

function oomScoreOf(pod: Pod, container: Container, nodeMemory: bigint): number {
  if (pod.spec?.priorityClassName === 'system-node-critical') return -997
  const qos = qosClass(pod)
  const score = (bytes: bigint): number => oomScoreAdj(qos, bytes, nodeMemory)
  const own = score(memoryRequestOf(container) + shareOfPod(pod))
  if (qos !== 'Burstable' || !isSidecar(container)) return own
  // A sidecar does not go before those that it serves.
  const smallest = (pod.spec?.containers ?? []).map(memoryRequestOf).toSorted((a, b) => Number(a - b))[0] ?? 0n
  return Math.min(own, score(smallest + shareOfPod(pod)))
}

function memoryRequestOf({ resources }: Container): bigint {
  const amount = resources?.requests?.['memory'] ?? resources?.limits?.['memory'] ?? '0'
  return parseMilliQuantity(amount, 'requests.memory') / 1000n
}

/** What the pod asks for beyond its containers, in equal parts. */
function shareOfPod(pod: Pod): bigint {
  const { spec } = pod
  const podLevel = podLevelOf(pod)
  const amount = podLevel?.requests?.['memory'] ?? podLevel?.limits?.['memory']
  const all = [...(spec?.initContainers ?? []).filter(isSidecar), ...(spec?.containers ?? [])]
  if (amount === undefined || all.length === 0) return 0n
  const rest = parseMilliQuantity(amount, 'spec.resources.requests.memory') / 1000n
  const left = all.reduce((sum, container) => sum - memoryRequestOf(container), rest)
  return left > 0n ? left / BigInt(all.length) : 0n
}
