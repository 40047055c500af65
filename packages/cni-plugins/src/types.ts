// What the parts hand each other.

export interface PortMapping {
  hostPort: number
  containerPort: number
  protocol: 'tcp' | 'udp' | 'sctp'
  /** Default: every address of the host. */
  hostIP?: string
}

/** A pod to be joined to the network. */
export interface PodNetwork {
  /** The sandbox's ID. */
  containerId: string
  /** Path of the pinned network namespace. */
  netns: string
  /** For instance `eth0`. */
  ifName: string
  pod?: { namespace: string; name: string; uid: string }
  portMappings?: PortMapping[]
}

/** What a network gave a pod. @see CNI spec 1.1, "Add Success" */
export interface CniResult {
  cniVersion: string
  interfaces: { name: string; mac?: string; mtu?: number; sandbox?: string }[]
  /** `address` with its prefix; `interface` is an index into `interfaces`. */
  ips: { address: string; gateway?: string; interface?: number }[]
  routes: { dst: string; gw?: string }[]
  dns: { nameservers?: string[]; domain?: string; search?: string[]; options?: string[] }
}

/** One plugin's object of a network list. */
export type PluginConfig = { type: string; capabilities?: Record<string, boolean> | undefined } & Record<
  string,
  unknown
>

export interface NetworkList {
  name: string
  cniVersion: string
  plugins: PluginConfig[]
  /** Where it was read. */
  file: string
}

/** What a plugin works on. */
export interface PluginCall {
  network: PodNetwork
  /** The plugin's object with `name`, `cniVersion`, `runtimeConfig` and `prevResult`. */
  config: PluginConfig & { name: string; cniVersion: string }
  prevResult?: CniResult
  /** DEL: there is no record of the ADD, so port mappings and addresses are not known. */
  isLost?: boolean
}

/** A plugin, in this process or as a program. */
export interface Plugin {
  add(call: PluginCall, host: Host, signal: AbortSignal): Promise<CniResult>
  /** Fine when there is nothing to undo; must work without `prevResult`. */
  del(call: PluginCall, host: Host, signal: AbortSignal): Promise<void>
  /** Rejected with what is wrong or missing. */
  status(config: PluginCall['config'], host: Host, signal: AbortSignal): Promise<void>
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
  /** Applies lines to the `nat` table in one transaction, together with those of other pods that wait. */
  rules(family: 4 | 6): Rules
  /** A plugin by its type, for delegation to IPAM. */
  plugin(type: string): Plugin
}

/** The nat table of one address family. */
export interface Rules {
  /** Chains to make or empty, and rules as iptables-restore reads them. */
  apply(lines: readonly string[], signal: AbortSignal): Promise<void>
  /**
   * Applies what is made of the table as iptables-save prints it; edits run one after the other.
   */
  edit(change: (saved: readonly string[]) => readonly string[], signal: AbortSignal): Promise<void>
}
