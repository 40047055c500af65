// What the parts hand each other.

export interface PortMapping {
  hostPort: number
  containerPort: number
  protocol: 'tcp' | 'udp' | 'sctp'
  /** Default: every address of the host. */
  hostIP?: string
}

/** What plugins are told that declare the capability. @see CNI's CONVENTIONS.md, "Dynamic Plugin specific fields" */
export interface CapabilityArgs {
  portMappings?: PortMapping[]
  /** Bits per second and bits. */
  bandwidth?: { ingressRate?: number; ingressBurst?: number; egressRate?: number; egressBurst?: number }
  /** Sets of ranges, as in host-local's configuration. */
  ipRanges?: { subnet: string; rangeStart?: string; rangeEnd?: string; gateway?: string }[][]
  /** Wanted addresses, with or without prefix. */
  ips?: string[]
  mac?: string
  dns?: { servers?: string[]; searches?: string[]; options?: string[] }
  infinibandGUID?: string
  /** Of PCI, or of the auxiliary bus. */
  deviceID?: string
  cgroupPath?: string
  aliases?: string[]
  [name: string]: unknown
}

/** What tells attachments apart. */
export interface AttachmentKey {
  containerId: string
  /** For instance `eth0`. */
  ifName: string
}

/** A pod to be joined to the network. */
export interface PodNetwork extends AttachmentKey {
  /** The sandbox's ID. */
  containerId: string
  /** Path of the pinned network namespace. */
  netns: string
  pod?: { namespace: string; name: string; uid: string }
  portMappings?: PortMapping[]
  capabilityArgs?: CapabilityArgs
  /** More CNI_ARGS than those of the pod, for instance `{ IP: '10.1.2.3' }`. */
  args?: Record<string, string>
}

/** What a network gave a pod, in the newest form. @see CNI spec 1.1, "Add Success" */
export interface CniResult {
  cniVersion: string
  interfaces: { name: string; mac?: string; mtu?: number; sandbox?: string; socketPath?: string; pciID?: string }[]
  /** `address` with its prefix; `interface` is an index into `interfaces`. */
  ips: { address: string; gateway?: string; interface?: number }[]
  routes: {
    dst: string
    gw?: string
    mtu?: number
    advmss?: number
    priority?: number
    table?: number
    scope?: number
  }[]
  dns: { nameservers?: string[]; domain?: string; search?: string[]; options?: string[] }
}

/** One plugin's object of a network list. */
export type PluginConfig = { type: string; capabilities?: Record<string, boolean> | undefined } & Record<
  string,
  unknown
>

export interface NetworkList {
  name: string
  /** The one that is spoken: the highest known of what the list offers. */
  cniVersion: string
  plugins: PluginConfig[]
  /** CHECK succeeds without a call. */
  disableCheck?: boolean
  /** Plugins are not asked to remove what is stale. */
  disableGC?: boolean
  /** Where it was read. */
  file: string
}

/** The attachment that a plugin works on. */
export interface PluginAttachment extends AttachmentKey {
  /** Path of the pod's network namespace; empty when there is none any more. */
  netns: string
  /** CNI_ARGS. */
  args: Readonly<Record<string, string>>
}

/** The plugin's object with `name`, `cniVersion` and `runtimeConfig`. */
export type RequestConfig = PluginConfig & { name: string; cniVersion: string }

/** What a plugin is asked to do, its configuration not yet looked at. */
export interface PluginRequest {
  network: PluginAttachment
  config: RequestConfig
  prevResult?: CniResult
  /** DEL: there is no record of the ADD, so port mappings and addresses are not known. */
  isLost?: boolean
  /** DEL: the namespace goes right after, and the kernel removes its links by itself. */
  namespaceGoes?: boolean
}

/** A plugin as libcni calls it, in this process or as a program. */
export interface Plugin {
  /** The versions of the protocol that it speaks; undefined when it does not say. */
  versions(host: Host, signal: AbortSignal): Promise<readonly string[] | undefined>
  add(request: PluginRequest, host: Host, signal: AbortSignal): Promise<CniResult>
  /** Rejected with what is not as `prevResult` says. */
  check(request: PluginRequest, host: Host, signal: AbortSignal): Promise<void>
  /** Fine when there is nothing to undo; must work without `prevResult`. */
  del(request: PluginRequest, host: Host, signal: AbortSignal): Promise<void>
  /** Removes what belongs to none of the attachments. */
  gc(config: RequestConfig, valid: readonly AttachmentKey[], host: Host, signal: AbortSignal): Promise<void>
  /** Rejected with what is wrong or missing. */
  status(config: RequestConfig, host: Host, signal: AbortSignal): Promise<void>
}

export interface CniLog {
  warn(fields: object, message: string): void
}

/** The machine that plugins work on. */
export interface Host {
  /** Path of the network namespace that stands for the host's; absent: this process's. */
  netns?: string
  /** Folder of address files. */
  addressDir: string
  log: CniLog
  /** Adds to the pod's change of rules, which is made as one, at the latest when all plugins are through. */
  changeRules(backend: RuleBackend, change: RuleChange): void
  /** Makes what was added so far. */
  settleRules(signal: AbortSignal): Promise<void>
  /**
   * What a plugin has from one call to the next: made at the first, closed with libcni. Absent in a program, which ends with its
   * call.
   */
  keep?<T extends AsyncDisposable>(name: string, make: () => Promise<T>): Promise<T>
  /** A plugin by its type, for delegation to IPAM. */
  plugin(type: string): Plugin
}

/** Where rules are: the iptables of an address family, or nftables. */
export type RuleBackend = 4 | 6 | 'nftables'

/** A table of iptables, or family and name of one of nftables. */
export type RuleTable = 'nat' | 'filter' | `${'ip' | 'ip6' | 'inet' | 'bridge'} ${string}`

/**
 * A change of a table. For iptables: chains to make or empty, and rules, as iptables-restore reads them. For nftables: commands
 * that are in order however often they come.
 */
export interface RuleChange {
  /** Default: nat. */
  table?: RuleTable
  /** What it takes when the table is as expected; tried without a look at the table. Absent: nothing is expected. */
  lines?: readonly string[]
  /**
   * The same, made of the table as iptables-save or `nft -a list table` prints it; of nothing when nftables has no such table.
   * Absent: `lines` are right for any table.
   */
  from?(saved: readonly string[]): readonly string[]
  /** The backend is a guess: a machine that cannot use it does not fail while it has another of those that are asked. */
  isGuess?: boolean
  /** For nftables, where iptables cannot be used. */
  otherwise?: RuleChange
  /** What is to be done once the change is in force. */
  after?(): Promise<void>
}

/** The tables of one backend. */
export interface Rules {
  /** Makes all changes in one transaction, together with those of other pods that wait. */
  commit(changes: readonly RuleChange[], signal: AbortSignal): Promise<void>
}
