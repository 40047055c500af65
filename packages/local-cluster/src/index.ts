export { startCluster } from './cluster.ts'
export type { Cluster, ClusterOptions } from './cluster.ts'
export { driversIn } from './csi/drivers.ts'
export type { ControllerDriver, FindDriver } from './csi/drivers.ts'
