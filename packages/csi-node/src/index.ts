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
export { createCsiVolumes } from './volume/volumes.ts'
export type { CsiVolumes, CsiVolumesOptions, KnownVolume } from './volume/volumes.ts'
export { CsiVolumeError } from './volume/work.ts'
export type { CsiVolumeWork } from './volume/work.ts'
export type { Expansion } from './volume/expand.ts'
export type {
  CsiObjects,
  CsiPod,
  CsiVolume,
  DriverSettings,
  SecretRef,
  SetUpOptions,
  TokenWish,
} from './volume/types.ts'
export { attachmentName, inlineHandle, uniqueVolumeName } from './volume/names.ts'
export { diskAt, isInUse } from './volume/disk.ts'
export type { Disk } from './volume/disk.ts'
export { forceUnmapBlock } from './volume/block.ts'
export { holdDevice, letGoOfDevice, linkDevice } from './volume/hold-device.ts'
export { giveToGroup } from './volume/ownership.ts'
export type { OwnershipOptions } from './volume/ownership.ts'
