// The DRA drivers of this node: which plugins serve them, and whether one is there.
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { Plugin, PluginHandler } from '../plugins/registration.ts'
import { type DriverPlugin, type DriverPluginOptions, openDriverPlugin } from './driver.ts'
import { type Health, healthService } from './health.ts'
import { chooseVersion } from './service.ts'

export interface Drivers extends PluginHandler, Disposable {
  /** Of several plugins the newest that is there. @throws Error when the driver has none */
  get(driver: string): DriverPlugin
  /** Whether one of its plugins is there. */
  isThere(driver: string): boolean
  /** Of a device, by the newest plugin that knows it. */
  health(driver: string, pool: string, device: string): Health
}

export interface DriversOptions {
  /** Whether the driver is there may be another now. */
  changed(driver: string): void
  /** The health of a device is another now. */
  healthChanged(driver: string): void
  /** A call has ended: see {@link DriverPluginOptions.called}. */
  called?: (driver: string, ...call: Parameters<NonNullable<DriverPluginOptions['called']>>) => void
  clock: Clock
  log: Logger
}

const driverName = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/

export function createDrivers({ changed, healthChanged, called, clock, log }: DriversOptions): Drivers {
  /** Driver → endpoint → plugin, the newest last: a driver that is updated may have two for a while. */
  const drivers = new Map<string, Map<string, DriverPlugin>>()

  const pluginsOf = (driver: string): DriverPlugin[] => [...(drivers.get(driver)?.values() ?? [])]

  return {
    register({ name: driver, endpoint, versions }: Plugin) {
      if (!driverName.test(driver) || driver.length > 63) {
        throw new Error(
          `DRA driver ${JSON.stringify(driver)}: must be a DNS name in lower case of at most 63 characters`,
        )
      }
      const version = chooseVersion(versions)
      const plugins = drivers.get(driver) ?? new Map<string, DriverPlugin>()
      if (plugins.has(endpoint)) throw new Error(`endpoint ${endpoint} already registered for DRA driver ${driver}`)
      drivers.set(driver, plugins)
      const plugin = openDriverPlugin({
        endpoint,
        version,
        tellsHealth: versions.includes(healthService),
        changed: () => changed(driver),
        healthChanged: () => healthChanged(driver),
        clock,
        called: called && ((...call) => called(driver, ...call)),
      })
      plugins.set(endpoint, plugin)
      log.info({ driver, endpoint, version }, 'a DRA driver registered')
      changed(driver)
    },
    deregister({ name: driver, endpoint }) {
      const plugins = drivers.get(driver)
      plugins?.get(endpoint)?.close()
      plugins?.delete(endpoint)
      healthChanged(driver)
      if (plugins?.size === 0) drivers.delete(driver)
      changed(driver)
    },
    get(driver) {
      const plugins = pluginsOf(driver)
      const plugin = plugins.findLast(({ connected }) => connected) ?? plugins.at(-1)
      if (!plugin) throw new Error(`DRA driver ${driver} is not registered`)
      return plugin
    },
    isThere: (driver) => pluginsOf(driver).some(({ connected }) => connected),
    health: (driver, pool, device) =>
      pluginsOf(driver)
        .map((plugin) => plugin.health(pool, device))
        .findLast((health) => health !== 'Unknown') ?? 'Unknown',
    [Symbol.dispose]() {
      for (const driver of drivers.keys()) for (const plugin of pluginsOf(driver)) plugin.close()
      drivers.clear()
    },
  }
}
