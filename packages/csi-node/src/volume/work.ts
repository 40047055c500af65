// What work on one volume goes by.
import type { NodeCapabilities } from '../driver/answers.ts'
import { csiErrorKind, driverNotFound, type CsiErrorKind } from '../driver/csi-error.ts'
import type { CsiDriver } from '../driver/driver.ts'
import type { CsiDrivers } from '../driver/drivers.ts'
import type { Logger } from '../log.ts'
import type { Records } from './records.ts'
import type { CsiObjects, CsiPod, CsiVolume, SecretRef, SetUpOptions } from './types.ts'

/** Work on a volume that has ended: one observation of `storage_operation_duration_seconds`. */
export interface CsiVolumeWork {
  driver: string
  /** `operation_name` */
  operation: 'unmount_device' | 'unmap_device' | 'volume_apply_access_control'
  migrated: boolean
  success: boolean
  seconds: number
}

export interface VolumeContext {
  /** Without symlinks. */
  rootDir: string
  nodeName: string
  drivers: Pick<CsiDrivers, 'get'>
  objects: CsiObjects
  records: Records
  /** Told when many files get another group, and how many have it. */
  ownershipProgress: (pod: CsiPod, specName: string, count: number) => void
  worked: (work: CsiVolumeWork) => void
  log: Logger
}

/** One volume being set up for one pod. */
export interface SetUpWork extends SetUpOptions {
  volume: CsiVolume
  pod: CsiPod
  driver: CsiDriver
  capabilities: NodeCapabilities
}

/** An error of a step of mounting or unmounting. The message is that of the Go kubelet's event. */
export class CsiVolumeError extends Error {
  override readonly name = 'CsiVolumeError'
  /** For instance `MountVolume.SetUp` or `MapVolume.SetUpDevice`. */
  readonly operation: string
  readonly kind: CsiErrorKind
  /** It was not tried: it is the failure of before. */
  readonly isRepeat: boolean

  constructor(operation: string, specName: string, cause: unknown, isRepeat = false) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`${operation} failed for volume "${specName}" : ${reason}`, { cause })
    this.operation = operation
    this.kind = csiErrorKind(cause)
    this.isRepeat = isRepeat
  }
}

/** @throws CsiVolumeError of this operation */
export async function during<T>(operation: string, specName: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof CsiVolumeError ? error : new CsiVolumeError(operation, specName, error)
  }
}

/** Tells of the work once it has ended. */
export async function counted<T>(
  { worked }: Pick<VolumeContext, 'worked'>,
  about: Pick<CsiVolumeWork, 'driver' | 'operation'> & { migrated?: boolean | undefined },
  work: () => Promise<T>,
): Promise<T> {
  const beganMs = performance.now()
  let success = false
  try {
    const result = await work()
    success = true
    return result
  } finally {
    const seconds = (performance.now() - beganMs) / 1000
    worked({ driver: about.driver, operation: about.operation, migrated: about.migrated ?? false, success, seconds })
  }
}

/** @throws CsiError, transient: it is not registered */
export function driverOf({ drivers }: Pick<VolumeContext, 'drivers'>, name: string): CsiDriver {
  const driver = drivers.get(name)
  if (!driver) throw driverNotFound(name)
  return driver
}

/** Read for each call, never kept. @param what for the error: `NodeStageSecretRef` */
export async function readSecret(
  { objects }: Pick<VolumeContext, 'objects'>,
  what: string,
  ref: SecretRef | undefined,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>> | undefined> {
  if (!ref) return undefined
  try {
    return await objects.secret(ref, signal)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const found = `kubernetes.io/csi: failed to find the secret ${ref.name} in the namespace ${ref.namespace} with error: ${reason}`
    throw new Error(`fetching ${what} ${ref.namespace}/${ref.name} failed: ${found}`, { cause })
  }
}
