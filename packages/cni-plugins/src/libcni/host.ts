// The machine as plugins in this process see it.
import { createRules } from '../iptables.ts'
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

/** Gives the host for one chain after the other: each has its own changes of rules. */
export function openHost({ plugins, binDirs, unloaded = [], addressDir, hostNetns, log }: HostOptions): () => Host {
  const tables = { 4: createRules(4, hostNetns), 6: createRules(6, hostNetns) }
  const inProcess = new Map(plugins.map((plugin) => [plugin.name, plugin]))
  const executable = openExecutables(binDirs, unloaded.length > 0 ? `not loaded: ${unloaded.join('; ')}` : undefined)
  return () => ({
    ...(hostNetns !== undefined && { netns: hostNetns }),
    addressDir,
    log,
    ...collectRules(tables),
    plugin: (type) => inProcess.get(type) ?? executable(type),
  })
}
