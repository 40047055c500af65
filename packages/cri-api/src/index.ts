export * from './gen/runtime.ts'
export type { CallOptions, ImageService, RuntimeService } from './services.ts'
