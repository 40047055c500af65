// A pod as CRI `PodSandboxConfig`. Pure.
import { join } from 'node:path'
import {
  type DNSConfig,
  type IDMapping,
  type PodSandboxConfig,
  PodSandboxConfig as Message,
  Protocol,
} from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { PodResources } from '../resource/pod-resources.ts'
import { podLabels } from './labels.ts'
import { sandboxSecurityContext } from './security-context.ts'

export interface SandboxFacts {
  attempt: number
  /** Empty on the host's network. */
  hostname: string
  dns: DNSConfig
  podLogsDir: string
  /** For instance `/kubepods/burstable/pod1234`; empty: the runtime's own place. */
  cgroupParent: string
  /** Of the containers together. */
  resources: PodResources
  /** Of the RuntimeClass, beside them. */
  overhead?: PodResources | undefined
  /** Those of a pod with a user namespace of its own. */
  ids?: IDMapping | undefined
}

const protocols: Record<string, Protocol> = { TCP: Protocol.TCP, UDP: Protocol.UDP, SCTP: Protocol.SCTP }

/** Where the logs of a pod's containers are: `NAMESPACE_NAME_UID`. */
export function podLogFolder(pod: Pod, podLogsDir: string): string {
  const { name, namespace, uid } = pod.metadata ?? {}
  return join(podLogsDir, `${namespace}_${name}_${uid}`)
}

export function sandboxConfig(pod: Pod, facts: SandboxFacts): PodSandboxConfig {
  const { name = '', namespace = '', uid = '', labels, annotations } = pod.metadata ?? {}
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]
  const ports = pod.spec?.hostNetwork ? [] : containers.flatMap((container) => container.ports ?? [])
  const sysctls = (pod.spec?.securityContext?.sysctls ?? []).map((entry): [string, string] => [
    entry.name.replaceAll('/', '.'),
    entry.value,
  ])
  return Message.fromPartial({
    metadata: { name, namespace, uid, attempt: facts.attempt },
    hostname: facts.hostname,
    logDirectory: podLogFolder(pod, facts.podLogsDir),
    dnsConfig: facts.dns,
    portMappings: ports.map(({ protocol = 'TCP', containerPort, hostPort = 0, hostIP = '' }) => ({
      protocol: protocols[protocol] ?? Protocol.TCP,
      containerPort,
      hostPort,
      hostIp: hostIP,
    })),
    labels: { ...labels, ...podLabels(pod) },
    annotations: { ...annotations },
    linux: {
      cgroupParent: facts.cgroupParent,
      sysctls: Object.fromEntries(sysctls),
      securityContext: sandboxSecurityContext(pod, facts.ids),
      resources: linuxResources(facts.resources),
      ...(facts.overhead && { overhead: linuxResources(facts.overhead) }),
    },
  })
}

const linuxResources = ({ cpuShares, cpuQuotaUs, cpuPeriodUs, memoryBytes }: PodResources) => ({
  cpuPeriod: BigInt(cpuPeriodUs ?? 100_000),
  cpuShares: BigInt(cpuShares),
  cpuQuota: BigInt(cpuQuotaUs ?? 0),
  memoryLimitInBytes: BigInt(memoryBytes ?? 0),
})
