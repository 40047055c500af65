// The machine as plugins in this process see it.
import { createRules } from '../iptables.ts'
import { createNftables } from '../nftables.ts'
import { collectRules } from '../pod-rules.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'
import type { CniLog, Host } from '../types.ts'
import { openExecutables } from './executable.ts'

export interface HostOptions {
  /** Those that run in this process; any other type is a program. */
  plugins: readonly DefinedPlugin[]
  /** Folders of plugin programs. */
  binDirs: readonly string[]
  /** Why plugins are missing, for the error of a type that is found nowhere. */
  unloaded?: readonly string[] | undefined
  /** Folder of address files. */
  addressDir: string
  /** Path of a network namespace taken as the host's; default: this process's. */
  hostNetns?: string | undefined
  log: CniLog
}

export interface Hosts extends Disposable {
  /** The host for one chain: each has its own changes of rules. */
  forChain(): Host
}

/** What plugins keep is closed with it. */
export function openHost({ plugins, binDirs, unloaded = [], addressDir, hostNetns, log }: HostOptions): Hosts {
  const tables = { 4: createRules(4, hostNetns), 6: createRules(6, hostNetns), nftables: createNftables(hostNetns) }
  const inProcess = new Map(plugins.map((plugin) => [plugin.name, plugin]))
  const executable = openExecutables(binDirs, unloaded.length > 0 ? `not loaded: ${unloaded.join('; ')}` : undefined)
  const kept = new Map<string, Promise<AsyncDisposable>>()
  const keep: Host['keep'] = async <T extends AsyncDisposable>(name: string, make: () => Promise<T>) => {
    const one = (kept.get(name) as Promise<T> | undefined) ?? make()
    kept.set(name, one)
    return one
  }
  const close = async (one: Promise<AsyncDisposable>): Promise<void> => (await one)[Symbol.asyncDispose]()
  return {
    forChain: () => ({
      ...(hostNetns !== undefined && { netns: hostNetns }),
      addressDir,
      log,
      keep,
      ...collectRules(tables),
      plugin: (type) => inProcess.get(type) ?? executable(type),
    }),
    [Symbol.dispose]: () => {
      for (const [name, one] of kept) {
        close(one).catch((error: Error) => log.warn({ plugin: name, err: error }, 'what a plugin kept is not closed'))
      }
      kept.clear()
    },
  }
}
