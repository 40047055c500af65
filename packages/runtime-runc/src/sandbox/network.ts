// Between a sandbox and CNI.
import { CriError, NamespaceMode, Protocol } from '@nodelet/cri-api'
import type { PodSandboxConfig, PodSandboxNetworkStatus } from '@nodelet/cri-api'
import type { CniResult, PodNetwork } from '@nodelet/cni-plugins'
import { podBandwidth } from './bandwidth.ts'
import { namespaceOptions } from './namespaces.ts'

/** What the pod's own link is called. */
export const podInterface = 'eth0'

export const usesHostNetwork = (config: PodSandboxConfig): boolean =>
  namespaceOptions(config)?.network === NamespaceMode.NODE

const protocols: Readonly<Record<number, 'tcp' | 'udp' | 'sctp'>> = {
  [Protocol.TCP]: 'tcp',
  [Protocol.UDP]: 'udp',
  [Protocol.SCTP]: 'sctp',
}

/** What CNI is asked for. Ports without a host port are none. */
export function podNetwork(id: string, config: PodSandboxConfig, netns: string): PodNetwork {
  const { name = '', namespace = '', uid = '' } = config.metadata ?? {}
  const portMappings = config.portMappings
    .filter(({ hostPort }) => hostPort > 0)
    .map(({ hostPort, containerPort, protocol, hostIp }) => ({
      hostPort,
      containerPort,
      protocol: protocols[protocol] ?? unknownProtocol(protocol),
      ...(hostIp ? { hostIP: hostIp } : {}),
    }))
  return {
    containerId: id,
    netns,
    ifName: podInterface,
    pod: { name, namespace, uid },
    ...(portMappings.length > 0 ? { portMappings } : {}),
    capabilityArgs: capabilityArgs(config),
  }
}

/** What plugins are told that declare the capability. */
function capabilityArgs({ annotations, dnsConfig, linux }: PodSandboxConfig): Record<string, unknown> {
  const bandwidth = podBandwidth(annotations)
  return {
    'io.kubernetes.cri.pod-annotations': annotations,
    ...(linux?.cgroupParent && { cgroupPath: linux.cgroupParent }),
    ...(bandwidth && { bandwidth }),
    ...(dnsConfig && {
      dns: { servers: dnsConfig.servers, searches: dnsConfig.searches, options: dnsConfig.options },
    }),
  }
}

/** The addresses of the pod's link, without their prefixes. Those that name no link are its. */
export function podAddresses({ ips, interfaces }: Pick<CniResult, 'ips' | 'interfaces'>): string[] {
  const own = ips.filter(({ interface: at }) => at === undefined || interfaces[at]?.name === podInterface)
  return own.map(({ address }) => address.split('/')[0] ?? '')
}

/** The first IPv4 address, else the first of all, then the others; none for a pod in the node's network. */
export function networkStatusOf(result: CniResult | undefined): PodSandboxNetworkStatus {
  const all = result ? podAddresses(result) : []
  const ip = all.find((address) => !address.includes(':')) ?? all[0] ?? ''
  return { ip, additionalIps: all.filter((address) => address !== ip).map((address) => ({ ip: address })) }
}

function unknownProtocol(protocol: Protocol): never {
  throw new CriError('INVALID_ARGUMENT', `port mapping protocol ${protocol} is unknown: use TCP, UDP or SCTP`)
}
