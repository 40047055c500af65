// What gives CPUs, memory and devices to containers, over the parts of a kubelet.
import type { Counter } from 'prom-client'
import type { ResourceGiver } from '../admission/admission.ts'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/types.ts'
import { type CpuManager, openCpuManager } from '../cpu/manager.ts'
import { cpuOptions } from '../cpu/options.ts'
import { readCpus } from '../cpu/topology.ts'
import { type DeviceManager, openDeviceManager } from '../device/manager.ts'
import type { Logger } from '../log.ts'
import { reservedMemory } from '../memory/machine.ts'
import { type MemoryManager, openMemoryManager } from '../memory/manager.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import { evictionReserve, reservedOf } from '../resource/reserved.ts'
import type { ShareGiver } from '../topology/share.ts'
import { createTopologyManager } from '../topology/manager.ts'
import { type NumaNode, readNumaNodes } from '../topology/numa.ts'
import { topologyRules } from '../topology/settings.ts'

export interface SharesOptions {
  rootDir: string
  configuration: KubeletConfiguration
  memoryBytes: bigint
  /** What containers may run on is another now. */
  poolChanged(): void
  devicesChanged(podUids: readonly string[]): void
  metrics: KubeletMetrics
  clock: Clock
  log: Logger
}

export interface Shares {
  cpus: CpuManager
  memory: MemoryManager
  devices: DeviceManager
  giver: ResourceGiver
}

/** @throws RangeError naming a wrong setting; Error naming a state file that does not fit */
export async function openShares(options: SharesOptions): Promise<Shares> {
  const { rootDir, configuration, metrics, clock, log } = options
  const { cpuManagerPolicy, memoryManagerPolicy, topologyManagerPolicy, topologyManagerScope: scope } = configuration
  const isPlaced = memoryManagerPolicy === 'Static' || topologyManagerPolicy !== 'none'
  const nodes = isPlaced ? await readNumaNodes() : []
  const rules = topologyRules(configuration, nodes)
  const cpus = await openCpuManager({
    rootDir,
    cpus: cpuManagerPolicy === 'static' ? await readCpus() : [],
    policy: cpuManagerPolicy,
    options: cpuOptions(configuration),
    reservedCpus: configuration.reservedSystemCPUs,
    reservedMilliCpu: reservedOf(configuration, 'cpu'),
    poolChanged: options.poolChanged,
  })
  const reserved = memoryManagerPolicy === 'Static' ? reservedIn(options, nodes) : new Map<number, never>()
  const memory = await openMemoryManager({ rootDir, policy: memoryManagerPolicy, nodes, reserved })
  const devices = await openDeviceManager({
    rootDir,
    nodes,
    changed: options.devicesChanged,
    registered: (resource_name) => metrics.pluginRegistrations.inc({ resource_name }),
    allocated: (resource_name, ms) => metrics.deviceSeconds.observe({ resource_name }, ms / 1000),
    clock,
    log,
  })
  const giver = createTopologyManager({
    ...rules,
    scope,
    givers: [
      devices,
      counted(cpus, (uid, name) => cpus.exclusiveOf(uid, name).length > 0, metrics.cpuRequests, metrics.cpuErrors),
      counted(
        memory,
        (uid, name) => memory.blocksOf(uid, name).length > 0,
        metrics.memoryRequests,
        metrics.memoryErrors,
      ),
    ],
    judged(milliseconds, admitted) {
      metrics.topologyRequests.inc()
      if (!admitted) metrics.topologyErrors.inc()
      metrics.topologyMilliseconds.observe(milliseconds)
    },
  })
  return { cpus, memory, devices, giver }
}

/** Counts containers that want something of the giver, and those that do not get it. */
const counted = (
  giver: ShareGiver,
  has: (podUid: string, container: string) => boolean,
  requests: Counter,
  errors: Counter,
): ShareGiver => ({
  ...giver,
  async give(pod, container, place, signal) {
    try {
      await giver.give(pod, container, place, signal)
      if (has(pod.metadata?.uid ?? '', container.name)) requests.inc()
    } catch (error) {
      requests.inc()
      errors.inc()
      throw error
    }
  },
})

const reservedIn = ({ configuration, memoryBytes }: SharesOptions, nodes: readonly NumaNode[]) =>
  reservedMemory(configuration.reservedMemory, nodes, (kind) => {
    const evicted = kind === 'memory' ? evictionReserve(configuration, kind, memoryBytes) : 0n
    return reservedOf(configuration, kind) / 1000n + evicted
  })
