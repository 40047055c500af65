// Messages of CSI v1.12, as its .proto file names them.
export type { VolumeCapability } from './gen/csi.ts'
