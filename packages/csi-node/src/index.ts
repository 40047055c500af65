export { createCsiDrivers } from './driver/drivers.ts'
export type { CsiDrivers, CsiDriversOptions, CsiRegistration } from './driver/drivers.ts'
export type { CsiDriver } from './driver/driver.ts'
export type { NodeCapabilities, NodeInfo, VolumeStats, VolumeUse } from './driver/answers.ts'
export type {
  ExpandRequest,
  PublishRequest,
  StageRequest,
  StatsRequest,
  UnpublishRequest,
  UnstageRequest,
  VolumeCapability,
} from './driver/requests.ts'
export { accessMode } from './driver/access-mode.ts'
export type { AccessMode } from './driver/access-mode.ts'
export { CsiError, csiErrorKind, driverNotFound } from './driver/csi-error.ts'
export type { CsiCode, CsiErrorKind } from './driver/csi-error.ts'
export type { CsiOperation } from './driver/call.ts'
export type { Logger } from './log.ts'
