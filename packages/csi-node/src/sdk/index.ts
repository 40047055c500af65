// All that a driver needs.
export { createDriver } from './driver.ts'
export type { Driver, DriverOptions, ServeDriverOptions, ServingDriver } from './driver.ts'
export { runDriver } from './run-program.ts'
export { CsiError } from './errors.ts'
export type { CsiCode } from './errors.ts'
export { ensureMounted, ensureTarget, ensureUnmounted, isMounted, removeTarget } from './mounting.ts'
export type { EnsureMounted } from './mounting.ts'
export { usageOf } from './usage.ts'
export type { Logger } from '../log.ts'
export type {
  AccessMode,
  Call,
  CapacityRange,
  ContentSource,
  ControllerFunctions,
  CreateVolumeRequest,
  IdentityFunctions,
  ListRequest,
  NodeExpandRequest,
  NodeFunctions,
  NodeInfo,
  PublishRequest,
  Snapshot,
  StageRequest,
  StringMap,
  Topology,
  Volume,
  VolumeCapability,
  VolumeCondition,
  VolumeStatus,
  VolumeUsage,
} from './types.ts'
