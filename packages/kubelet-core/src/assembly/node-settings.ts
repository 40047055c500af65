// What workers of pods need to know of their node, by its configuration and its machine.
import { pageBytes } from '@nodelet/linux'
import type { KubeletOptions } from '../config.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { MachineFacts } from '../node/facts.ts'
import type { NodeFacts } from '../pod/services.ts'
import { parseQuantity } from '../quantity.ts'

/** @param allocatable of the node: resource name → quantity */
export function nodeSettings(
  { nodeName, nodeIPs, rootDir }: Pick<KubeletOptions, 'nodeName' | 'nodeIPs' | 'rootDir'>,
  configuration: KubeletConfiguration,
  machine: MachineFacts,
  allocatable: Readonly<Record<string, string>>,
): NodeFacts {
  return {
    nodeName,
    hostIPs: nodeIPs,
    rootDir,
    podLogsDir: configuration.podLogsDir,
    clusterDns: configuration.clusterDNS,
    clusterDomain: configuration.clusterDomain,
    memoryBytes: machine.memoryBytes,
    allocatable,
    thermalThrottle: machine.thermalThrottle,
    cfsQuota: {
      enforced: configuration.cpuCFSQuota,
      periodUs: BigInt(Math.round(parseDuration(configuration.cpuCFSQuotaPeriod) * 1000)),
    },
    pageSizes: Object.keys(machine.hugepages),
    swap: undefined,
    throttling: configuration.featureGates['MemoryQoS']
      ? {
          factor: configuration.memoryThrottlingFactor,
          allocatableBytes: parseQuantity(allocatable['memory'] ?? '0', 'allocatable.memory'),
          pageBytes: pageBytes(),
        }
      : undefined,
    singleProcessOOMKill: configuration.singleProcessOOMKill ?? false,
    seccompDefault: configuration.seccompDefault,
    maxRestartMs: parseDuration(configuration.crashLoopBackOff.maxContainerRestartPeriod ?? '300s'),
  }
}
