// The CSI drivers of a node: they come and go by registration.
import { type Logger, silentLogger } from '../log.ts'
import type { NodeInfo } from './answers.ts'
import type { CsiOperation } from './call.ts'
import { driverNotFound } from './csi-error.ts'
import { type CsiDriver, openDriver } from './driver.ts'
import { compareVersions, supportedVersion, type Version } from './version.ts'

/** As a driver says of itself when it registers. */
export interface CsiRegistration {
  name: string
  /** The path of its socket. */
  endpoint: string
  /** Of CSI, for instance `1.11.0`. */
  versions: readonly string[]
}

export interface CsiDriversOptions {
  /** Default: none. */
  log?: Logger
  /** Told of each call that has ended, for `csi_operations_seconds`. */
  observed?: (operation: CsiOperation) => void
  /** How long a driver may take for a call, in milliseconds. Default: 2 minutes. */
  timeoutMs?: number
}

/** The drivers that are registered. */
export interface CsiDrivers {
  /**
   * Takes a driver and asks it what this node is to it. A driver of the name is replaced by one of a higher version only.
   * @throws Error naming the driver: its name is none, no version 1.x, another one of the name is there
   * @throws CsiError, or the signal's reason: no good answer, and the driver is not registered then
   */
  register(registration: CsiRegistration, signal: AbortSignal): Promise<NodeInfo>
  /**
   * Forgets a driver; calls under way go on.
   * @param endpoint when given, only the driver of this socket: not the one that has replaced it
   * @returns whether it was there
   */
  deregister(name: string, endpoint?: string): boolean
  /** Undefined: none of the name is registered. */
  get(name: string): CsiDriver | undefined
}

const defaultTimeoutMs = 120_000

interface Entry {
  driver: CsiDriver
  version: Version
  /** Ends the registration. */
  gone: AbortController
}

export function createCsiDrivers(options: CsiDriversOptions = {}): CsiDrivers {
  const { log = silentLogger, observed = () => {}, timeoutMs = defaultTimeoutMs } = options
  const entries = new Map<string, Entry>()

  const remove = (name: string, entry: Entry): void => {
    if (entries.get(name) === entry) entries.delete(name)
    entry.gone.abort(driverNotFound(name))
  }

  return {
    async register({ name, endpoint, versions }, signal) {
      // Half a megabyte of code that a node without drivers does without.
      const wire = await import('../gen/csi.ts')
      signal.throwIfAborted()
      const version = versionOf(name, endpoint, versions)
      const former = entries.get(name)
      if (former && compareVersions(former.version, version) >= 0) {
        throw new Error(
          `CSI driver ${JSON.stringify(name)}: another driver with the same name is already registered with version ${former.driver.version}, which must be lower than ${version.join('.')}`,
        )
      }
      if (former) remove(name, former)
      const caller = { driver: name, endpoint, timeoutMs, observed, log }
      const driver = openDriver(wire, caller, version.join('.'), () => entries.get(name) === entry)
      const entry: Entry = { driver, version, gone: new AbortController() }
      entries.set(name, entry)
      try {
        const info = await driver.nodeInfo(AbortSignal.any([signal, entry.gone.signal]))
        entry.gone.signal.throwIfAborted()
        log.info({ driver: name, endpoint, version: driver.version, nodeId: info.nodeId }, 'a CSI driver is registered')
        return info
      } catch (error) {
        remove(name, entry)
        throw error
      }
    },
    deregister(name, endpoint) {
      const entry = entries.get(name)
      if (!entry || (endpoint !== undefined && endpoint !== entry.driver.endpoint)) return false
      remove(name, entry)
      log.info({ driver: name, endpoint: entry.driver.endpoint }, 'a CSI driver is gone')
      return true
    },
    get: (name) => entries.get(name)?.driver,
  }
}

/** As the API server wants it. It becomes part of paths. */
const namePattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/i

/** @throws Error naming the driver */
function versionOf(name: string, endpoint: string, versions: readonly string[]): Version {
  const driver = `CSI driver ${JSON.stringify(name)}`
  if (name.length > 63 || !namePattern.test(name)) {
    throw new Error(`${driver}: the name must be that of a CSIDriver: at most 63 letters, digits, "-" and "."`)
  }
  if (!endpoint.startsWith('/'))
    throw new Error(`${driver}: endpoint ${JSON.stringify(endpoint)}: must be an absolute path`)
  try {
    return supportedVersion(versions)
  } catch (error) {
    throw new Error(`${driver}: ${(error as Error).message}`, { cause: error })
  }
}
