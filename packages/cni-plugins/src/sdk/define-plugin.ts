// A plugin as its author writes it: for this process and as a program.
import { statSync } from 'node:fs'
import { CniError, cniCode } from '../errors.ts'
import { cniVersions } from '../libcni/versions.ts'
import type { CniVersion } from '../libcni/versions.ts'
import type { AttachmentKey, CniResult, Host, Plugin, PluginRequest, RequestConfig } from '../types.ts'
import { typed } from './schema.ts'
import type { ConfigSchema } from './schema.ts'

/** What every verb of a plugin is told. */
export interface PluginContext<Config> {
  /** The plugin's object of the network list, as the schema gives it. */
  config: Config
  networkName: string
  /** Of the network. */
  cniVersion: string
}

/** One attachment to work on: `prevResult` is of the plugin before, or for CHECK and DEL of the whole ADD. */
export interface PluginCall<Config> extends PluginContext<Config>, Omit<PluginRequest, 'config'> {
  /** As it came, for plugins that have part of it done by others: `host.plugin(type).add(call.request, host, signal)`. */
  request: PluginRequest
}

export interface PluginDefinition<Config> {
  /** The type in network lists, and what the program is called. */
  name: string
  /** Those of the protocol that it speaks; default: all that we know. */
  versions?: readonly CniVersion[]
  /** The keys of CNI_ARGS that it knows: others are refused unless IgnoreUnknown is set. Default: none is refused. */
  args?: readonly string[]
  config: ConfigSchema<Config>
  /** Gives the result so far, with its own part. A failure is a CniError, or gets the code 999. */
  add(call: PluginCall<Config>, host: Host, signal: AbortSignal): Promise<CniResult>
  /** Undoes ADD. Fine when there is nothing to undo; comes again, and without `prevResult` or namespace, too. */
  del(call: PluginCall<Config>, host: Host, signal: AbortSignal): Promise<void>
  /** Rejected with what is not as `prevResult` says. Absent: all is well. */
  check?(call: PluginCall<Config> & { prevResult: CniResult }, host: Host, signal: AbortSignal): Promise<void>
  /** Removes what belongs to none of the attachments. Absent: the plugin keeps nothing. */
  gc?(
    call: PluginContext<Config> & { valid: readonly AttachmentKey[]; request: RequestConfig },
    host: Host,
    signal: AbortSignal,
  ): Promise<void>
  /** Rejected while an ADD could not succeed, best with the code 50. Absent: always ready. */
  status?(call: PluginContext<Config> & { request: RequestConfig }, host: Host, signal: AbortSignal): Promise<void>
}

/** A plugin that runs in this process, in `createCni`'s `plugins`, or as a program by `runExecutable`. */
export interface DefinedPlugin extends Plugin {
  readonly name: string
  readonly supported: readonly CniVersion[]
}

/** By its shape: it may be of another copy of this package. */
export function isDefinedPlugin(value: unknown): value is DefinedPlugin {
  if (typeof value !== 'object' || value === null) return false
  const plugin = value as Record<keyof DefinedPlugin, unknown>
  const verbs = ['versions', 'add', 'check', 'del', 'gc', 'status'] as const
  return (
    typeof plugin.name === 'string' &&
    Array.isArray(plugin.supported) &&
    verbs.every((verb) => typeof plugin[verb] === 'function')
  )
}

/** Checks what comes in, in both forms alike, before the plugin sees it. */
export function definePlugin<Config>(definition: PluginDefinition<Config>): DefinedPlugin {
  const { name, versions: supported = cniVersions } = definition
  const contextOf = async (request: RequestConfig): Promise<PluginContext<Config>> => {
    if (!(supported as readonly string[]).includes(request.cniVersion)) {
      const known = supported.map((version) => JSON.stringify(version)).join(' ')
      throw new CniError(cniCode.incompatibleVersion, 'incompatible CNI versions', {
        details: `config is ${JSON.stringify(request.cniVersion)}, plugin supports [${known}]`,
      })
    }
    const config = await typed(definition.config, name, request)
    return { config, networkName: request.name, cniVersion: request.cniVersion }
  }
  const callOf = async (request: PluginRequest): Promise<PluginCall<Config>> => {
    if (definition.args) refuseUnknown(request.network.args, definition.args)
    return { ...request, ...(await contextOf(request.config)), request }
  }
  return {
    name,
    supported,
    versions: async () => supported,
    add: async (request, host, signal) => {
      refuseOwnNamespace(request, host)
      return definition.add(await callOf(request), host, signal)
    },
    del: async (request, host, signal) => {
      refuseOwnNamespace(request, host)
      return definition.del(await callOf(request), host, signal)
    },
    check: async (request, host, signal) => {
      const { prevResult } = request
      if (!prevResult) throw new CniError(cniCode.badConfig, `${name}: CHECK needs prevResult`)
      const call = await callOf(request)
      await definition.check?.({ ...call, prevResult }, host, signal)
    },
    gc: async (request, valid, host, signal) => {
      const context = await contextOf(request)
      await definition.gc?.({ ...context, valid, request }, host, signal)
    },
    status: async (request, host, signal) => {
      const context = await contextOf(request)
      await definition.status?.({ ...context, request }, host, signal)
    },
  }
}

const isTrue = (text: string | undefined): boolean => /^(1|true)$/i.test(text ?? '')

function refuseUnknown({ IgnoreUnknown, ...args }: Readonly<Record<string, string>>, known: readonly string[]): void {
  const unknown = Object.entries(args).filter(([key]) => !known.includes(key))
  if (unknown.length === 0 || isTrue(IgnoreUnknown)) return
  const pairs = unknown.map(([key, value]) => JSON.stringify(`${key}=${value}`)).join(' ')
  throw new CniError(cniCode.badEnvironment, `ARGS: unknown args [${pairs}]`)
}

/**
 * Before anything is done, where the reference plugins look afterwards: a DEL there would take the machine's own link. What
 * cannot be looked at is not this process's.
 */
function refuseOwnNamespace({ network: { netns } }: PluginRequest, host: Host): void {
  if (netns === '' || isTrue(process.env['CNI_NETNS_OVERRIDE'])) return
  const own = statSync(host.netns ?? '/proc/thread-self/ns/net', { throwIfNoEntry: false })
  const pod = statOf(netns)
  if (own && pod && own.dev === pod.dev && own.ino === pod.ino) {
    throw new CniError(cniCode.badNetns, "plugin's netns and netns from CNI_NETNS should not be the same")
  }
}

function statOf(path: string): { dev: number; ino: number } | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}
