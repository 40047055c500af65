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
  /** By capability, what plugins that declare it are told, for instance `dns` or `bandwidth`. */
  capabilityArgs?: Record<string, unknown>
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
  /** DEL: the namespace goes right after, and the kernel removes its links by itself. */
  namespaceGoes?: boolean
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
  /** Adds to the pod's change of the `nat` table, which is made as one, at the latest when all plugins are through. */
  changeRules(family: 4 | 6, change: RuleChange): void
  /** Makes what was added so far. */
  settleRules(signal: AbortSignal): Promise<void>
  /** A plugin by its type, for delegation to IPAM. */
  plugin(type: string): Plugin
}

/** A change of the nat table: chains to make or empty, and rules, as iptables-restore reads them. */
export interface RuleChange {
  /** What it takes when the table is as expected; tried without a look at the table. Absent: nothing is expected. */
  lines?: readonly string[]
  /** The same, made of the table as iptables-save prints it. */
  from(saved: readonly string[]): readonly string[]
  /** The family is a guess: a machine without such a table does not fail while it has the other. */
  isGuess?: boolean
  /** What is to be done once the change is in force. */
  after?(): Promise<void>
}

/** The nat table of one address family. */
export interface Rules {
  /** Makes all changes in one transaction, together with those of other pods that wait. */
  commit(changes: readonly RuleChange[], signal: AbortSignal): Promise<void>
}
