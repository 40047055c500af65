// What pods' networks are made from, as users of other runtimes read it: the keys are those of containerd's `cniconfig`.
// Pure.
import type { NetworkList } from '../types.ts'

/** A pod's networks: loopback, and the list of the folder unless there is none. */
export interface CniConfig {
  PluginDirs: readonly string[]
  PluginConfDir: string
  /** How many lists of the folder are used. */
  PluginMaxConfNum: number
  /** Links are called so, counted from 0. */
  Prefix: string
  Networks: readonly ShownNetwork[]
}

export interface ShownNetwork {
  /** Each `Source` is the JSON of what it is beside. */
  Config: { Name: string; CNIVersion: string; Plugins: { Network: object; Source: string }[]; Source: string }
  IFName: string
}

const loopback = { name: 'cni-loopback', cniVersion: '1.0.0', plugins: [{ type: 'loopback' }] }

export function shownConfig(
  { binDirs, confDir }: { binDirs: readonly string[]; confDir: string },
  list: NetworkList | undefined,
): CniConfig {
  return {
    PluginDirs: binDirs,
    PluginConfDir: confDir,
    PluginMaxConfNum: 1,
    Prefix: 'eth',
    Networks: [shownNetwork(loopback, 'lo'), ...(list ? [shownNetwork(list, 'eth0')] : [])],
  }
}

function shownNetwork({ name, cniVersion, plugins }: Omit<NetworkList, 'file'>, IFName: string): ShownNetwork {
  return {
    Config: {
      Name: name,
      CNIVersion: cniVersion,
      Plugins: plugins.map((plugin) => ({ Network: plugin, Source: JSON.stringify(plugin) })),
      Source: JSON.stringify({ cniVersion, name, plugins }),
    },
    IFName,
  }
}
