// What prepares ResourceClaims, over the parts of a kubelet.
import { join } from 'node:path'
import type { KubeClient } from '@nodelet/kube-client'
import type { Clock } from '../clock.ts'
import { resourceClaims } from '../dra/claim.ts'
import { createDrivers } from '../dra/drivers.ts'
import { type ClaimManager, openClaimManager } from '../dra/manager.ts'
import { createSliceKeeper } from '../dra/slices.ts'
import type { Logger } from '../log.ts'
import { countClaims } from '../metrics/dra-metrics.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { PluginHandler } from '../plugins/registration.ts'

export interface DynamicResourcesOptions {
  rootDir: string
  nodeName: string
  /** None: there are no claims. */
  client: KubeClient | undefined
  /** What waited for a driver may go on. */
  driverCame(): void
  /** A device of this pod is better or worse now. */
  healthChanged(podUid: string): void
  metrics: Pick<KubeletMetrics, 'claimSeconds' | 'draCallSeconds' | 'claimsInUse'>
  clock: Clock
  log: Logger
}

export interface DynamicResources extends AsyncDisposable {
  claims: ClaimManager
  /** Of plugins of type `DRAPlugin`. */
  drivers: PluginHandler
  /** Begins to look after the slices of drivers that do not come back. */
  start(): void
}

/** How long a driver may be away before its ResourceSlices go, in milliseconds. */
const awayMs = 30_000

/** @throws Error naming a state file that cannot be trusted */
export async function openDynamicResources(options: DynamicResourcesOptions): Promise<DynamicResources> {
  const { rootDir, nodeName, client, driverCame, healthChanged, metrics, clock, log } = options
  const drivers = createDrivers({
    changed(driver) {
      slices?.changed(driver)
      if (drivers.isThere(driver)) driverCame()
    },
    healthChanged: (driver) => claims.podsOf(driver).forEach(healthChanged),
    called: (driver_name, method_name, grpc_status_code, seconds) =>
      metrics.draCallSeconds.observe({ driver_name, method_name, grpc_status_code }, seconds),
    clock,
    log,
  })
  const slices = client && createSliceKeeper({ client, nodeName, awayMs, isThere: drivers.isThere, clock, log })
  const claims = await openClaimManager({
    path: join(rootDir, 'dra_manager_state'),
    async read(namespace, name, signal) {
      if (!client) throw new Error('this kubelet has no API server')
      return client.get(resourceClaims, { namespace, name }, { signal })
    },
    drivers,
    log,
    changed: (used) => countClaims(metrics, used),
    worked: (operation_name, failed, seconds) =>
      metrics.claimSeconds.observe({ operation_name, is_error: String(failed) }, seconds),
  })
  return {
    claims,
    drivers,
    start: () => slices?.start(),
    async [Symbol.asyncDispose]() {
      await slices?.[Symbol.asyncDispose]()
      drivers[Symbol.dispose]()
    },
  }
}
