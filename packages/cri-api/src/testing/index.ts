export { createMemoryRuntime } from './runtime.ts'
export type { MemoryRuntime } from './runtime.ts'
export { runtimeServiceSuite } from './suite.ts'
export type { SuiteCase, SuiteRuntime } from './suite.ts'
