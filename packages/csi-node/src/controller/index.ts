// For provisioners, attachers and resizers: the controller side of a driver.
export { openController } from './controller.ts'
export type {
  ControllerCapabilities,
  ControllerExpandRequest,
  ControllerPublishRequest,
  CreatedVolume,
  CreateVolumeRequest,
  CsiController,
  CsiControllerOptions,
  TopologyRequirement,
} from './controller.ts'
