export { createCni } from './libcni/cni.ts'
export type { Cni, CniOptions } from './libcni/cni.ts'
export type { CniConfig, ShownNetwork } from './libcni/shown-config.ts'
export { defaultNetwork } from './libcni/default-network.ts'
export { parseNetworkList } from './libcni/conflist.ts'
export { findNetworkList } from './libcni/networks.ts'
export { parseResult } from './libcni/parse-result.ts'
export { toVersion } from './libcni/print-result.ts'
export { cniVersions } from './libcni/versions.ts'
export type { CniVersion } from './libcni/versions.ts'
export { standardPlugins } from './plugins/standard-plugins.ts'
export { loadPlugins, packageNamePattern } from './custom/load-plugins.ts'
export type { CustomPlugins, LoadOptions } from './custom/load-plugins.ts'
export { definePlugin } from './sdk/define-plugin.ts'
export type { DefinedPlugin, PluginCall, PluginContext, PluginDefinition } from './sdk/define-plugin.ts'
export { runExecutable } from './sdk/run-executable.ts'
export type { ConfigSchema, StandardSchema } from './sdk/schema.ts'
export { CniError, cniCode } from './errors.ts'
export { removeNetwork } from './remove-network.ts'
export type { RemoveNetworkOptions } from './remove-network.ts'
export type {
  AttachmentKey,
  CapabilityArgs,
  CniLog,
  CniResult,
  Host,
  NetworkList,
  Plugin,
  PluginAttachment,
  PluginConfig,
  PluginRequest,
  PodNetwork,
  PortMapping,
  RequestConfig,
} from './types.ts'
