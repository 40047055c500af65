// The Node object from what is known of the machine and its runtime. Pure.
import type { Node, NodeAddress, NodeCondition, NodeStatus } from 'kubernetes-types/core/v1.d.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import type { Pressure } from '../admission/checks.ts'
import { apiTime } from '../pod/time.ts'
import { printMilliQuantity } from '../quantity.ts'
import { evictionReserve, reservedOf } from '../resource/reserved.ts'
import { declaredFeatures } from './declared-features.ts'
import type { MachineFacts } from './facts.ts'

export interface NodeObjectFacts {
  nodeName: string
  nodeIPs: readonly string[]
  machine: MachineFacts
  configuration: KubeletConfiguration
  labels?: Readonly<Record<string, string>> | undefined
  /** For instance `nodelet://0.1.0`. */
  runtimeVersion: string
  kubeletVersion: string
  /** Of the kubelet's server; undefined without one. */
  port?: number | undefined
  images: NonNullable<NodeStatus['images']>
  runtimeHandlers: { name: string; features: { recursiveReadOnlyMounts: boolean; userNamespaces: boolean } }[]
  /** What the runtime can do beside its handlers; undefined: it does not say. */
  features?: { supplementalGroupsPolicy: boolean } | undefined
  /** Devices: extended resource → how many there are, and may be given out. */
  devices?: ReadonlyMap<string, { capacity: number; allocatable: number }>
  /** Attachable volumes that are or will be mounted: `kubernetes.io/csi/DRIVER^HANDLE`. */
  volumesInUse?: readonly string[]
  /** Why the node is not ready; empty when it is. */
  problems: readonly string[]
  /** What the node runs short of. */
  pressure: readonly Pressure[]
  previous: readonly NodeCondition[]
  nowMs: number
}

/** As `kubectl get node` shows: memory in KiB, the rest in units. */
export function nodeResources({ machine, configuration }: Pick<NodeObjectFacts, 'machine' | 'configuration'>): {
  capacity: Record<string, string>
  allocatable: Record<string, string>
} {
  const hugepages = Object.entries(machine.hugepages).map(([size, bytes]): [string, bigint] => [
    `hugepages-${size}`,
    bytes,
  ])
  const inPages = hugepages.reduce((sum, [, bytes]) => sum + bytes, 0n)
  const { memoryBytes, ephemeralStorageBytes: storage } = machine
  /** In whole units; never below zero. */
  const left = (name: string, capacity: bigint): bigint => {
    const free = capacity - reservedOf(configuration, name) / 1000n - evictionReserve(configuration, name, capacity)
    return free > 0n ? free : 0n
  }
  const milliCpu = BigInt(machine.cpus) * 1000n - reservedOf(configuration, 'cpu')
  const memory = left('memory', memoryBytes) - inPages
  const pods = String(podCount(configuration, machine.cpus))
  return {
    capacity: {
      cpu: String(machine.cpus),
      ...Object.fromEntries(hugepages.map(([name, bytes]) => [name, String(bytes)])),
      pods,
      memory: `${memoryBytes / 1024n}Ki`,
      'ephemeral-storage': `${storage / 1024n}Ki`,
    },
    allocatable: {
      cpu: printMilliQuantity(milliCpu > 0n ? milliCpu : 0n),
      ...Object.fromEntries(hugepages.map(([name, bytes]) => [name, String(left(name, bytes))])),
      pods,
      memory: `${(memory > 0n ? memory : 0n) / 1024n}Ki`,
      'ephemeral-storage': String(left('ephemeral-storage', storage)),
    },
  }
}

function podCount({ maxPods, podsPerCore }: NodeObjectFacts['configuration'], cpus: number): number {
  return podsPerCore > 0 ? Math.min(maxPods, podsPerCore * cpus) : maxPods
}

export function nodeLabels(facts: Pick<NodeObjectFacts, 'nodeName' | 'machine' | 'labels'>): Record<string, string> {
  const { architecture } = facts.machine
  return {
    'beta.kubernetes.io/arch': architecture,
    'beta.kubernetes.io/os': 'linux',
    'kubernetes.io/arch': architecture,
    'kubernetes.io/hostname': facts.nodeName,
    'kubernetes.io/os': 'linux',
    ...facts.labels,
  }
}

/** A controller attaches this node's volumes; without it the node would do so itself. */
export const attachAnnotation = 'volumes.kubernetes.io/controller-managed-attach-detach'

export function nodeObject(facts: NodeObjectFacts): Node {
  const { enableControllerAttachDetach } = facts.configuration
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: facts.nodeName,
      labels: nodeLabels(facts),
      annotations: enableControllerAttachDetach ? { [attachAnnotation]: 'true' } : {},
    },
    spec: nodeSpec(facts.configuration),
    status: nodeStatus(facts),
  }
}

function nodeSpec({
  podCIDR,
  providerID,
  registerWithTaints: taints,
}: KubeletConfiguration): NonNullable<Node['spec']> {
  return {
    ...(podCIDR && { podCIDR, podCIDRs: podCIDR.split(',') }),
    ...(providerID && { providerID }),
    ...(taints.length > 0 && {
      taints: taints.map(({ key, value, effect }) => ({ key, ...(value && { value }), effect })),
    }),
  }
}

export function nodeStatus(facts: NodeObjectFacts): NodeStatus {
  const { machine, nodeIPs, nodeName, port } = facts
  const addresses: NodeAddress[] = [
    ...nodeIPs.map((address) => ({ type: 'InternalIP', address })),
    { type: 'Hostname', address: nodeName },
  ]
  const { capacity, allocatable } = nodeResources(facts)
  const declared = declaredFeatures(facts.configuration)
  const status: NodeStatus & { runtimeHandlers?: unknown; features?: unknown; declaredFeatures?: string[] } = {
    capacity: { ...capacity, ...countsOf(facts.devices, 'capacity') },
    allocatable: { ...allocatable, ...countsOf(facts.devices, 'allocatable') },
    conditions: nodeConditions(facts),
    addresses,
    ...(port !== undefined && { daemonEndpoints: { kubeletEndpoint: { Port: port } } }),
    nodeInfo: {
      machineID: machine.machineId,
      systemUUID: machine.systemUuid,
      bootID: machine.bootId,
      kernelVersion: machine.kernelVersion,
      osImage: machine.osImage,
      containerRuntimeVersion: facts.runtimeVersion,
      kubeletVersion: facts.kubeletVersion,
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: machine.architecture,
      ...(machine.swapBytes > 0n && { swap: { capacity: Number(machine.swapBytes) } }),
    } as NonNullable<NodeStatus['nodeInfo']>,
    images: facts.images,
    ...(facts.volumesInUse && { volumesInUse: [...facts.volumesInUse] }),
    runtimeHandlers: facts.runtimeHandlers,
    ...(facts.features && { features: facts.features }),
    ...(declared && { declaredFeatures: declared }),
  }
  return status
}

/** Resource → quantity. */
export const countsOf = (
  devices: NodeObjectFacts['devices'],
  kind: 'capacity' | 'allocatable',
): Record<string, string> =>
  Object.fromEntries([...(devices ?? [])].map(([name, counts]) => [name, String(counts[kind])]))

/** In the order that everybody knows. */
export function nodeConditions({
  problems,
  pressure,
  previous,
  nowMs,
}: Pick<NodeObjectFacts, 'problems' | 'pressure' | 'previous' | 'nowMs'>): NodeCondition[] {
  const ready = problems.length === 0
  const verdicts: Pick<NodeCondition, 'type' | 'status' | 'reason' | 'message'>[] = [
    ...pressures.map((texts) => pressureVerdict(texts, pressure.includes(texts.type))),
    {
      type: 'Ready',
      status: ready ? 'True' : 'False',
      reason: ready ? 'KubeletReady' : 'KubeletNotReady',
      message: ready ? 'kubelet is posting ready status' : told(problems),
    },
  ]
  return verdicts.map((verdict) => {
    const before = previous.find(({ type }) => type === verdict.type)
    const since = before?.status === verdict.status ? before.lastTransitionTime : undefined
    return { ...verdict, lastHeartbeatTime: apiTime(nowMs), lastTransitionTime: since ?? apiTime(nowMs) }
  })
}

interface Verdict {
  type: string
  status: string
  reason: string
  message: string
}

/** What each condition says, without and with pressure: reason and message. */
const pressures: readonly { type: Pressure; off: [string, string]; on: [string, string] }[] = [
  {
    type: 'MemoryPressure',
    off: ['KubeletHasSufficientMemory', 'kubelet has sufficient memory available'],
    on: ['KubeletHasInsufficientMemory', 'kubelet has insufficient memory available'],
  },
  {
    type: 'DiskPressure',
    off: ['KubeletHasNoDiskPressure', 'kubelet has no disk pressure'],
    on: ['KubeletHasDiskPressure', 'kubelet has disk pressure'],
  },
  {
    type: 'PIDPressure',
    off: ['KubeletHasSufficientPID', 'kubelet has sufficient PID available'],
    on: ['KubeletHasInsufficientPID', 'kubelet has insufficient PID available'],
  },
]

function pressureVerdict({ type, off, on }: (typeof pressures)[number], pressed: boolean): Verdict {
  const [reason, message] = pressed ? on : off
  return { type, status: pressed ? 'True' : 'False', reason, message }
}

const told = (problems: readonly string[]): string =>
  problems.length === 1 ? (problems[0] ?? '') : `[${problems.join(', ')}]`
