// CSI drivers as plugins that register: asked what the node is to them, and told of to the API server.
import type { CsiDrivers, NodeInfo } from '@nodelet/csi-node'
import { aborted } from '../aborted.ts'
import type { Logger } from '../log.ts'
import type { PluginHandler } from '../plugins/registration.ts'
import type { CsiNodeKeeper } from './csi-node-keeper.ts'

export interface CsiPluginsOptions {
  drivers: CsiDrivers
  /** None: there is no API server. */
  keeper: CsiNodeKeeper | undefined
  /** What waited for the driver may go on. */
  came(driver: string): void
  log: Logger
}

/** How long the API server may take to forget a driver, in milliseconds. */
const forgetMs = 30_000

export function csiPlugins({ drivers, keeper, came, log }: CsiPluginsOptions): PluginHandler {
  const tell = async (name: string, info: NodeInfo, signal: AbortSignal): Promise<void> => {
    if (!keeper) return
    // It belongs to the Node, which may not be there yet.
    await aborted(keeper.initialized, signal)
    await keeper.add(name, info, signal)
  }
  return {
    async register({ name, endpoint, versions }, signal) {
      const info = await drivers.register({ name, endpoint, versions }, signal)
      try {
        await tell(name, info, signal)
      } catch (error) {
        drivers.deregister(name, endpoint)
        throw error
      }
      came(name)
    },
    async deregister({ name, endpoint }) {
      // Another one of the name may have taken its place.
      if (!drivers.deregister(name, endpoint)) return
      await keeper?.remove(name, AbortSignal.timeout(forgetMs)).catch((error: unknown) => {
        log.warn({ err: error, driver: name }, 'the API server could not be told that a CSI driver is gone')
      })
    },
  }
}
