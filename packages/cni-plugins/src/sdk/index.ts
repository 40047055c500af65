// What a plugin that is a program needs, and nothing that is slow to load.
export { definePlugin } from './define-plugin.ts'
export type { DefinedPlugin, PluginCall, PluginContext, PluginDefinition } from './define-plugin.ts'
export { runExecutable } from './run-executable.ts'
export type { ConfigSchema, StandardResult, StandardSchema } from './schema.ts'
export { CniError, cniCode } from '../errors.ts'
export type { AttachmentKey, CniResult, Host, PluginAttachment, PluginRequest, RequestConfig } from '../types.ts'
