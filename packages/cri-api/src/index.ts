export type { CallOptions, ImageService, RuntimeService } from './services.ts'
export { createCriClient } from './client.ts'
export type { CriClient, CriClientOptions, RpcName } from './client.ts'
export { serveCri } from './server.ts'
export type { CriServer, ServeOptions } from './server.ts'
export { CriError, isNotFound, isUnimplemented } from './errors.ts'
export type { CriCode } from './errors.ts'
// The messages and enums of CRI v1, some 250 names: one door for all of them.
export * from './gen/runtime.ts'
