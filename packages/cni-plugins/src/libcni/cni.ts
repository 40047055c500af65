// libcni: joins pods to the network of a folder of lists, and pays what it owes.
import { join } from 'node:path'
import { CniError, cniCode } from '../errors.ts'
import { standardPlugins } from '../plugins/standard-plugins.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'
import type { AttachmentKey, CniLog, CniResult, NetworkList, PodNetwork } from '../types.ts'
import { openAttachments } from './cache.ts'
import { checkAttachment, throwAll } from './call.ts'
import { addChain, checkChain, delChain, gcChain, statusChain, validateChain } from './chain.ts'
import { openHost } from './host.ts'
import { createGate, createLines } from './lines.ts'
import { openNetworks } from './networks.ts'
import { shownConfig } from './shown-config.ts'
import type { CniConfig } from './shown-config.ts'

export interface CniOptions {
  /** Folder of network lists: the first by name is the network. It is followed: changes need no restart. */
  confDir: string
  /** Folders of plugin programs. */
  binDirs: readonly string[]
  /** Default of the reference: `/var/lib/cni`. */
  cacheDir: string
  /** Those that run in this process; any other type is a program. Default: `standardPlugins`. With `[]` all are programs. */
  plugins?: readonly DefinedPlugin[]
  /** What `loadPlugins` could not load and why, for the error of a type that is found nowhere. */
  unloaded?: readonly string[]
  /** Path of a network namespace taken as the host's; default: this process's. */
  hostNetns?: string
  log?: CniLog
}

/** Networks of pods. Failures are CniErrors. Work on one pod is done one after the other. */
export interface Cni extends Disposable {
  /** Rejected with what is missing or wrong while the network cannot be used. */
  status(signal?: AbortSignal): Promise<void>
  /** What the networks of a pod are made from, in the form in which other runtimes show it. Rejected for a faulty list. */
  config(): Promise<CniConfig>
  /** Joins a pod to loopback and to the network; undone in reverse when it fails half-way. */
  add(network: PodNetwork, signal?: AbortSignal): Promise<CniResult>
  /** Whether what ADD made is still so, by the plugins' own words. Rejected with what is not. */
  check(key: AttachmentKey & { netns?: string }, signal?: AbortSignal): Promise<void>
  /**
   * Takes a pod off the network: needs neither its namespace nor that ADD succeeded. Fine when there is nothing. With
   * `namespaceGoes` the caller lets the namespace go right after: its links are then left to the kernel, which is faster.
   */
  del(
    network: Pick<PodNetwork, 'containerId' | 'netns' | 'ifName'> & { namespaceGoes?: boolean },
    signal?: AbortSignal,
  ): Promise<void>
  /**
   * Takes off the network whatever is not valid: attachments that are on record by DEL, the rest by the plugins. Waits for calls
   * that run, and keeps others waiting. Goes on after a failure and tells of all.
   *
   * @param valid all attachments that are in use
   */
  gc(valid: readonly AttachmentKey[], signal?: AbortSignal): Promise<void>
  /** Stops following the folder of lists, and what plugins do between calls. */
  close(): void
}

/** How long undoing a failed ADD may take, in milliseconds. */
const undoMs = 20_000
const never = new AbortController().signal
const silent: CniLog = { warn: () => undefined }

export function createCni(options: CniOptions): Cni {
  const { confDir, binDirs, cacheDir, plugins = standardPlugins, unloaded, hostNetns, log = silent } = options
  const host = openHost({ plugins, unloaded, binDirs, addressDir: join(cacheDir, 'networks'), hostNetns, log })
  const hostOf = host.forChain
  const attachments = openAttachments(cacheDir, log)
  const networks = openNetworks(confDir, log)
  const gate = createGate()
  const lines = createLines()
  const alone = async <T>(key: AttachmentKey, work: () => Promise<T>): Promise<T> => {
    checkAttachment(key)
    return gate.beside(async () => lines(`${key.containerId}/${key.ifName}`, work))
  }

  const load = async (): Promise<NetworkList> => {
    const list = await networks.current()
    if (!list) throw new CniError(cniCode.notAvailable, `no networks found in ${confDir}`)
    return list
  }

  const add = async (network: PodNetwork, signal: AbortSignal): Promise<CniResult> => {
    const list = await load()
    await validateChain(list, hostOf(), signal)
    const former = await attachments.find(network)
    if (former?.result) {
      const { containerId, ifName } = network
      throw new CniError(cniCode.internal, `container "${containerId}" has ${ifName} already: delete it first`)
    }
    if (former) await delChain({ ...former, network: { ...former.network, netns: network.netns } }, hostOf(), signal)
    const attachment = { network, list }
    await attachments.save(attachment)
    const begun = { ...list, plugins: [] }
    try {
      const result = await addChain(attachment, begun, hostOf(), signal)
      await attachments.save({ ...attachment, result })
      return result
    } catch (error) {
      // What cannot be undone now is still owed, and paid by DEL or at the next start.
      await delChain({ network, list: begun }, hostOf(), AbortSignal.timeout(undoMs)).then(
        async () => attachments.remove(network, list.name),
        (problem: Error) => log.warn({ containerId: network.containerId, err: problem }, 'pod network not undone'),
      )
      throw error
    }
  }

  const del = async (
    key: AttachmentKey & { netns?: string },
    signal: AbortSignal,
    namespaceGoes = false,
  ): Promise<void> => {
    let list: NetworkList | undefined
    let problem: unknown
    try {
      list = await networks.current()
    } catch (error) {
      problem = error
    }
    const attachment = await attachments.find(key, list?.name)
    if (attachment) {
      // The namespace may be pinned elsewhere by now.
      const network = { ...attachment.network, ...(key.netns !== undefined && { netns: key.netns }) }
      await delChain({ ...attachment, network }, hostOf(), signal, { namespaceGoes })
      await attachments.remove(key, attachment.list.name)
    } else if (list) {
      await delChain({ list, network: { netns: '', ...key } }, hostOf(), signal, { isLost: true })
      await attachments.remove(key, list.name)
    } else {
      log.warn({ containerId: key.containerId, err: problem }, 'no record of the pod network, and no network')
    }
  }

  const gc = async (valid: readonly AttachmentKey[], signal: AbortSignal): Promise<void> => {
    const errors: Error[] = []
    const keep = (error: Error): void => void errors.push(error)
    const isValid = (key: AttachmentKey): boolean =>
      valid.some(({ containerId, ifName }) => containerId === key.containerId && ifName === key.ifName)
    for (const key of await attachments.keys()) if (!isValid(key)) await del(key, signal).catch(keep)
    const list = await networks.current().catch(keep)
    if (list && !list.disableGC) await gcChain(list, valid, hostOf(), signal).catch(keep)
    throwAll(errors)
  }

  const close = (): void => {
    networks[Symbol.dispose]()
    host[Symbol.dispose]()
  }
  return {
    status: async (signal = never) => statusChain(await load(), hostOf(), signal),
    config: async () => shownConfig({ binDirs, confDir }, await networks.current()),
    add: async (network, signal = never) => alone(network, async () => add(network, signal)),
    check: async (key, signal = never) =>
      alone(key, async () => {
        const { containerId, ifName, netns } = key
        const found = await attachments.find(key, (await networks.current())?.name)
        if (!found?.result) throw new CniError(cniCode.unknownContainer, `container "${containerId}" has no ${ifName}`)
        const network = { ...found.network, ...(netns !== undefined && { netns }) }
        await checkChain({ ...found, network, result: found.result }, hostOf(), signal)
      }),
    del: async ({ namespaceGoes, ...network }, signal = never) =>
      alone(network, async () => del(network, signal, namespaceGoes)),
    gc: async (valid, signal = never) => gate.alone(async () => gc(valid, signal)),
    close,
    [Symbol.dispose]: close,
  }
}
