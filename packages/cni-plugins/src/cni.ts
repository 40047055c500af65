// libcni: joins pods to the network of a folder of lists, and pays what it owes.
import { join } from 'node:path'
import { openAttachments } from './cache.ts'
import type { Attachment } from './cache.ts'
import { findNetworkList } from './conflist.ts'
import { CniError, cniCode } from './errors.ts'
import { executablePlugin, findPlugin } from './invoke.ts'
import { createRules } from './iptables.ts'
import { bridge } from './plugins/bridge/bridge.ts'
import { loopback } from './plugins/loopback/loopback.ts'
import { portmap } from './plugins/portmap/portmap.ts'
import type { CniLog, CniResult, Host, NetworkList, Plugin, PluginCall, PluginConfig, PodNetwork } from './types.ts'

export interface CniOptions {
  /** Folder of network lists: the first by name is the network. */
  confDir: string
  /** Folders of plugin programs. */
  binDirs: readonly string[]
  /** Default of the reference: `/var/lib/cni`. */
  cacheDir: string
  /** Path of a network namespace taken as the host's; default: this process's. */
  hostNetns?: string
  log?: CniLog
}

/** Networks of pods. Failures are CniErrors. */
export interface Cni {
  /** Rejected with what is missing while no network can be used. */
  status(signal?: AbortSignal): Promise<void>
  /** Joins a pod to loopback and to the network; undone in reverse when it fails half-way. */
  add(network: PodNetwork, signal?: AbortSignal): Promise<CniResult>
  /** Takes a pod off the network: needs neither its namespace nor that ADD succeeded. Fine when there is nothing. */
  del(network: Pick<PodNetwork, 'containerId' | 'netns' | 'ifName'>, signal?: AbortSignal): Promise<void>
  /** Takes off the network whatever is not wanted: what a former life left. */
  payOwed(isWanted: (containerId: string) => boolean, signal?: AbortSignal): Promise<void>
}

/** The plugins that run in this process. */
const inProcess: Readonly<Record<string, Plugin>> = { loopback, bridge, portmap }

export function createCni({ confDir, binDirs, cacheDir, hostNetns, log = silent }: CniOptions): Cni {
  const rules = { 4: createRules(4, hostNetns), 6: createRules(6, hostNetns) }
  const host: Host = {
    ...(hostNetns !== undefined && { netns: hostNetns }),
    addressDir: join(cacheDir, 'networks'),
    log,
    rules: (family) => rules[family],
  }
  const attachments = openAttachments(cacheDir)
  const pluginOf = ({ type }: PluginConfig): Plugin => inProcess[type] ?? executablePlugin(type, binDirs)

  const load = async (): Promise<NetworkList> => {
    const list = await findNetworkList(confDir)
    if (!list) throw new CniError(cniCode.notAvailable, `no networks found in ${confDir}`)
    return list
  }

  const undo = async ({ list, network, result }: Attachment, signal: AbortSignal): Promise<void> => {
    const errors: Error[] = []
    for (const plugin of [...list.plugins].toReversed()) {
      try {
        await pluginOf(plugin).del(callOf(list, plugin, network, result), host, signal)
      } catch (error) {
        errors.push(named(error, plugin, 'delete'))
      }
    }
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1) throw new AggregateError(errors, errors.map(({ message }) => message).join('; '))
  }

  const del: Cni['del'] = async ({ containerId, netns, ifName }, signal = never) => {
    const attachment = await attachments.find(containerId, ifName)
    if (!attachment) return
    // The namespace may be pinned elsewhere by now.
    await undo({ ...attachment, network: { ...attachment.network, netns } }, signal)
    await attachments.remove(attachment)
  }

  return {
    status: async () => {
      const list = await load()
      for (const { type } of list.plugins) if (!inProcess[type]) await findPlugin(type, binDirs)
    },
    add: async (network, signal = never) => {
      checkNetwork(network)
      const list = await load()
      const attachment: Attachment = { network, list }
      await attachments.save(attachment)
      try {
        await loopback.add(callOf(list, { type: 'loopback' }, network), host, signal)
        let result: CniResult | undefined
        for (const plugin of list.plugins) {
          try {
            result = await pluginOf(plugin).add(callOf(list, plugin, network, result), host, signal)
          } catch (error) {
            throw named(error, plugin, 'add')
          }
        }
        if (!result) throw new CniError(cniCode.badConfig, `${list.file}: no plugin`)
        await attachments.save({ ...attachment, result })
        return result
      } catch (error) {
        // What could not be undone now is still owed, and paid at the next start.
        await undo(attachment, AbortSignal.timeout(undoMs)).then(
          async () => attachments.remove(attachment),
          (problem: Error) => log.warn({ containerId: network.containerId, err: problem }, 'network not undone'),
        )
        throw error
      }
    },
    del,
    payOwed: async (isWanted, signal) => {
      for (const { network } of await attachments.all()) if (!isWanted(network.containerId)) await del(network, signal)
    },
  }
}

/** How long undoing a failed ADD may take, in milliseconds. */
const undoMs = 20_000
const never = new AbortController().signal
const silent: CniLog = { warn: () => undefined }

function callOf(list: NetworkList, plugin: PluginConfig, network: PodNetwork, prevResult?: CniResult): PluginCall {
  const offered: Record<string, unknown> = { portMappings: network.portMappings }
  const runtimeConfig = Object.fromEntries(
    Object.entries(offered).filter(([name, value]) => plugin.capabilities?.[name] && value !== undefined),
  )
  const { name, cniVersion } = list
  const config = { ...plugin, name, cniVersion, ...(Object.keys(runtimeConfig).length > 0 && { runtimeConfig }) }
  return { network, config, ...(prevResult && { prevResult }) }
}

function named(error: unknown, { type }: PluginConfig, verb: 'add' | 'delete'): CniError {
  const { message } = error as Error
  const code = error instanceof CniError ? error.code : cniCode.internal
  return new CniError(code, `plugin type="${type}" failed (${verb}): ${message}`, { cause: error })
}

function checkNetwork({ containerId, ifName }: PodNetwork): void {
  if (!/^[a-zA-Z0-9][\w.-]*$/.test(containerId)) {
    throw new CniError(cniCode.badEnvironment, `invalid container ID: ${JSON.stringify(containerId)}`)
  }
  if (!/^[^/:\s]{1,15}$/.test(ifName) || ifName === '.' || ifName === '..') {
    throw new CniError(cniCode.badEnvironment, `invalid interface name: ${JSON.stringify(ifName)}`)
  }
}
