// What the pod resources API tells of containers. Pure.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { CpuManager } from '../cpu/manager.ts'
import type { DeviceManager, KnownDevice } from '../device/manager.ts'
import type { ContainerClaim } from '../dra/devices.ts'
import type { ClaimManager } from '../dra/manager.ts'
import {
  ContainerDevices,
  ContainerMemory,
  ContainerResources,
  DynamicResource,
  PodResources,
} from '../gen/podresources.ts'
import type { MemoryManager } from '../memory/manager.ts'
import type { MemoryBlock } from '../memory/state.ts'
import { containersOf, isPassing } from '../topology/share.ts'

/** Who knows what containers have. */
export interface ResourceFacts {
  cpus: Pick<CpuManager, 'exclusiveOf' | 'allocatable'>
  memory: Pick<MemoryManager, 'blocksOf' | 'allocatable'>
  devices: Pick<DeviceManager, 'devicesOf' | 'allocatable'>
  claims: Pick<ClaimManager, 'claimsOf'>
}

/** Of sidecars and regular containers. */
export function podResources(pod: Pod, facts: ResourceFacts): PodResources {
  const { name = '', namespace = '' } = pod.metadata ?? {}
  const lasting = containersOf(pod).filter((container) => !isPassing(pod, container))
  return PodResources.fromPartial({
    name,
    namespace,
    containers: lasting.map((container) => containerResources(pod, container, facts)),
  })
}

function containerResources(pod: Pod, container: Container, facts: ResourceFacts): ContainerResources {
  const { cpus, memory, devices, claims } = facts
  const { uid = '' } = pod.metadata ?? {}
  const { name } = container
  return ContainerResources.fromPartial({
    name,
    devices: devices.devicesOf(uid, name).flatMap(deviceEntries),
    cpuIds: cpus.exclusiveOf(uid, name).map(BigInt),
    memory: memory.blocksOf(uid, name).map(memoryEntry),
    dynamicResources: claims.claimsOf(pod, container).flatMap(claimEntry),
  })
}

/** One for each NUMA node that the device is near to. */
export function deviceEntries({ resource, device: { id, nodes } }: KnownDevice): ContainerDevices[] {
  const entry = { resourceName: resource, deviceIds: [id] }
  if (nodes.length === 0) return [ContainerDevices.fromPartial(entry)]
  return nodes.map((node) => ContainerDevices.fromPartial({ ...entry, topology: { nodes: [{ ID: BigInt(node) }] } }))
}

function claimEntry({ claim, devices }: ContainerClaim): DynamicResource[] {
  if (!claim) return []
  const claimResources = devices.map(({ driver, pool, device, shareId, cdiIds }) => ({
    cdiDevices: cdiIds.map((name) => ({ name })),
    driverName: driver,
    poolName: pool,
    deviceName: device,
    shareId,
  }))
  return [DynamicResource.fromPartial({ claimName: claim.name, claimNamespace: claim.namespace, claimResources })]
}

export const memoryEntry = ({ type, size, numaAffinity }: MemoryBlock): ContainerMemory =>
  ContainerMemory.fromPartial({
    memoryType: type,
    size: BigInt(size),
    topology: { nodes: numaAffinity.map((id) => ({ ID: BigInt(id) })) },
  })
