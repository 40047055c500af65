// What a KubeProxyConfiguration says, as types.

/** What rules are made of. */
export type ConfiguredMode = 'iptables' | 'ipvs' | 'nftables'

/** How traffic of this node's pods is told from other traffic. */
export type LocalMode = 'ClusterCIDR' | 'NodeCIDR' | 'BridgeInterface' | 'InterfaceNamePrefix'

interface FormatOptions {
  splitStream: boolean
  /** A quantity of bytes. */
  infoBufferSize: string
}

/**
 * Complete: what was not said has its default. Durations and quantities are texts, as they were written; a duration of
 * zero stands for the default where the Go proxy takes it so.
 * @see kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration
 */
export interface KubeProxyConfiguration {
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1'
  kind: 'KubeProxyConfiguration'
  featureGates: Record<string, boolean>
  clientConnection: {
    kubeconfig: string
    acceptContentTypes: string
    contentType: string
    /** Requests a second; below zero: as many as there are. */
    qps: number
    burst: number
  }
  logging: {
    format: string
    /** A duration, or a number of nanoseconds. */
    flushFrequency: string | number
    verbosity: number
    vmodule: { filePattern: string; verbosity: number }[]
    options: { text: FormatOptions; json: FormatOptions }
  }
  /** Empty: the machine's host name. */
  hostnameOverride: string
  /** Replaces the node address of its family, unless it is unspecified. Nothing listens there. */
  bindAddress: string
  /** Where `/healthz`, `/livez` and `/readyz` answer; empty, which only a flag can say: nowhere. */
  healthzBindAddress: string
  metricsBindAddress: string
  /** Whether a server that cannot listen ends the proxy. */
  bindAddressHardFail: boolean
  enableProfiling: boolean
  showHiddenMetricsForVersion: string
  /** Empty: iptables. */
  mode: '' | ConfiguredMode
  iptables: {
    masqueradeBit: number
    masqueradeAll: boolean
    localhostNodePorts: boolean
    syncPeriod: string
    minSyncPeriod: string
  }
  ipvs: {
    syncPeriod: string
    minSyncPeriod: string
    scheduler: string
    excludeCIDRs: string[]
    strictARP: boolean
    tcpTimeout: string
    tcpFinTimeout: string
    udpTimeout: string
  }
  nftables: {
    masqueradeBit: number
    masqueradeAll: boolean
    syncPeriod: string
    minSyncPeriod: string
  }
  winkernel: {
    networkName: string
    sourceVip: string
    enableDSR: boolean
    rootHnsEndpointName: string
    forwardHealthCheckVip: boolean
  }
  /** Empty: ClusterCIDR. */
  detectLocalMode: '' | LocalMode
  detectLocal: { bridgeInterface: string; interfaceNamePrefix: string }
  /** A CIDR, or one of each family with a comma between them. */
  clusterCIDR: string
  /** CIDRs, or the single word `primary`. */
  nodePortAddresses: string[]
  oomScoreAdj: number
  conntrack: {
    /** Tracked connections per core; 0: the kernel's limit stays. */
    maxPerCore: number
    min: number
    /** Of these, a zero leaves what the kernel has. */
    tcpEstablishedTimeout: string
    tcpCloseWaitTimeout: string
    tcpBeLiberal: boolean
    udpTimeout: string
    udpStreamTimeout: string
  }
  configSyncPeriod: string
  portRange: string
  windowsRunAsService: boolean
}

/** Of the right types and complete, but not checked: words may be none of those that a field may have. */
export type DecodedConfiguration = Omit<KubeProxyConfiguration, 'mode' | 'detectLocalMode'> & {
  mode: string
  detectLocalMode: string
}

type Sayable<T> = T extends readonly unknown[]
  ? T | null
  : T extends object
    ? { [Key in keyof T]?: Sayable<T[Key]> | null | undefined }
    : T

/** What a file or a program may say: all may be left out, or be null. */
export type KubeProxyConfigurationInput = Sayable<KubeProxyConfiguration>
