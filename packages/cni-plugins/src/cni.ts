// libcni: joins pods to the network of a folder of lists, and pays what it owes.
import { join } from 'node:path'
import { openAttachments } from './cache.ts'
import type { Attachment } from './cache.ts'
import { callOf, checkNetwork, named, throwAll } from './call.ts'
import { findNetworkList } from './conflist.ts'
import { CniError, cniCode } from './errors.ts'
import { executablePlugin } from './invoke.ts'
import { createRules } from './iptables.ts'
import { createLines } from './lines.ts'
import { bridge } from './plugins/bridge/bridge.ts'
import { hostLocal } from './plugins/host-local/host-local.ts'
import { collectRules } from './pod-rules.ts'
import { loopback } from './plugins/loopback/loopback.ts'
import { portmap } from './plugins/portmap/portmap.ts'
import { shownConfig } from './shown-config.ts'
import type { CniConfig } from './shown-config.ts'
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

/** Networks of pods. Failures are CniErrors. Work on one pod is done one after the other. */
export interface Cni {
  /** Rejected with what is missing or wrong while the network cannot be used. */
  status(signal?: AbortSignal): Promise<void>
  /** What the networks of a pod are made from, in the form in which other runtimes show it. Rejected for a faulty list. */
  config(): Promise<CniConfig>
  /** Joins a pod to loopback and to the network; undone in reverse when it fails half-way. */
  add(network: PodNetwork, signal?: AbortSignal): Promise<CniResult>
  /**
   * Takes a pod off the network: needs neither its namespace nor that ADD succeeded. Fine when there is nothing. With
   * `namespaceGoes` the caller lets the namespace go right after: its links are then left to the kernel, which is faster.
   */
  del(
    network: Pick<PodNetwork, 'containerId' | 'netns' | 'ifName'> & { namespaceGoes?: boolean },
    signal?: AbortSignal,
  ): Promise<void>
  /** Takes off the network whatever is not wanted: what a former life left. Goes on after a failure and tells of all. */
  payOwed(isWanted: (containerId: string) => boolean, signal?: AbortSignal): Promise<void>
}

/** The plugins that run in this process. */
const inProcess: Readonly<Record<string, Plugin>> = { loopback, bridge, portmap, 'host-local': hostLocal }
/** How long undoing a failed ADD may take, in milliseconds. */
const undoMs = 20_000
const never = new AbortController().signal
const silent: CniLog = { warn: () => undefined }

export function createCni({ confDir, binDirs, cacheDir, hostNetns, log = silent }: CniOptions): Cni {
  const tables = { 4: createRules(4, hostNetns), 6: createRules(6, hostNetns) }
  const pluginOf = (type: string): Plugin => inProcess[type] ?? executablePlugin(type, binDirs)
  /** The host as the plugins of one chain see it. */
  const hostOf = (): Host => ({
    ...(hostNetns !== undefined && { netns: hostNetns }),
    addressDir: join(cacheDir, 'networks'),
    log,
    ...collectRules(tables),
    plugin: pluginOf,
  })
  const attachments = openAttachments(cacheDir, log)
  const alone = createLines()
  const lineOf = ({ containerId, ifName }: { containerId: string; ifName: string }): string =>
    `${containerId}/${ifName}`

  const load = async (): Promise<NetworkList> => {
    const list = await findNetworkList(confDir)
    if (!list) throw new CniError(cniCode.notAvailable, `no networks found in ${confDir}`)
    return list
  }

  const undo = async (
    { list, network, result }: Attachment,
    signal: AbortSignal,
    how: Pick<PluginCall, 'isLost' | 'namespaceGoes'> = {},
  ): Promise<void> => {
    const errors: Error[] = []
    const host = hostOf()
    for (const plugin of [...list.plugins].toReversed()) {
      const call: PluginCall = { ...callOf(list, plugin, network, result), ...how }
      try {
        await pluginOf(plugin.type).del(call, host, signal)
      } catch (error) {
        errors.push(named(error, plugin, 'delete'))
      }
    }
    await host.settleRules(signal).catch((error: Error) => errors.push(error))
    throwAll(errors)
  }

  const add = async (network: PodNetwork, signal: AbortSignal): Promise<CniResult> => {
    const list = await load()
    const former = await attachments.find(network)
    if (former?.result) {
      const { containerId, ifName } = network
      throw new CniError(cniCode.internal, `container "${containerId}" has ${ifName} already: delete it first`)
    }
    if (former) await undo({ ...former, network: { ...former.network, netns: network.netns } }, signal)
    const attachment: Attachment = { network, list }
    await attachments.save(attachment)
    const done: PluginConfig[] = []
    const host = hostOf()
    try {
      await loopback.add(callOf(list, { type: 'loopback' }, network), host, signal)
      let result: CniResult | undefined
      for (const plugin of list.plugins) {
        done.push(plugin)
        try {
          result = await pluginOf(plugin.type).add(callOf(list, plugin, network, result), host, signal)
        } catch (error) {
          throw named(error, plugin, 'add')
        }
      }
      if (!result) throw new CniError(cniCode.badConfig, `${list.file}: no plugin`)
      await host.settleRules(signal)
      await attachments.save({ ...attachment, result })
      return result
    } catch (error) {
      // What cannot be undone now is still owed, and paid by DEL or at the next start.
      const partly = { ...attachment, list: { ...list, plugins: done } }
      await undo(partly, AbortSignal.timeout(undoMs)).then(
        async () => attachments.remove(network, list.name),
        (problem: Error) => log.warn({ containerId: network.containerId, err: problem }, 'pod network not undone'),
      )
      throw error
    }
  }

  const del = async (
    key: Pick<PodNetwork, 'containerId' | 'ifName'> & { netns?: string },
    signal: AbortSignal,
    namespaceGoes = false,
  ): Promise<void> => {
    const attachment = await attachments.find(key)
    if (attachment) {
      // The namespace may be pinned elsewhere by now.
      const network = { ...attachment.network, ...(key.netns !== undefined && { netns: key.netns }) }
      await undo({ ...attachment, network }, signal, { namespaceGoes })
      await attachments.remove(key, attachment.list.name)
      return
    }
    let list: NetworkList
    try {
      list = await load()
    } catch (error) {
      log.warn({ containerId: key.containerId, err: error as Error }, 'no record of the pod network, and no network')
      return
    }
    await undo({ list, network: { netns: '', ...key } }, signal, { isLost: true })
    await attachments.remove(key, list.name)
  }

  return {
    status: async (signal = never) => {
      const list = await load()
      for (const plugin of list.plugins) {
        const config = { ...plugin, name: list.name, cniVersion: list.cniVersion }
        await pluginOf(plugin.type).status(config, hostOf(), signal)
      }
    },
    config: async () => shownConfig({ binDirs, confDir }, await findNetworkList(confDir)),
    add: async (network, signal = never) => {
      checkNetwork(network)
      return alone(lineOf(network), async () => add(network, signal))
    },
    del: async ({ namespaceGoes, ...network }, signal = never) => {
      checkNetwork(network)
      return alone(lineOf(network), async () => del(network, signal, namespaceGoes))
    },
    payOwed: async (isWanted, signal = never) => {
      const errors: Error[] = []
      for (const key of await attachments.keys()) {
        if (isWanted(key.containerId)) continue
        await alone(lineOf(key), async () => del(key, signal)).catch((error: Error) => errors.push(error))
      }
      throwAll(errors)
    },
  }
}
