// CSI drivers as plugins that register: asked what the node is to them, and told of to the API server.
import { type CsiDrivers, CsiError, type NodeInfo } from '@nodelet/csi-node'
import { aborted } from '../aborted.ts'
import type { Logger } from '../log.ts'
import type { Plugin, PluginHandler } from '../plugins/registration.ts'
import type { CsiNodeKeeper } from './csi-node-keeper.ts'

export interface CsiPluginsOptions {
  drivers: CsiDrivers
  /** None: there is no API server. */
  keeper: CsiNodeKeeper | undefined
  /** What waited for the driver may go on. */
  came(driver: string): void
  /** It is not used any more. */
  gone(driver: string): void
  log: Logger
}

/** How long the API server may take to forget a driver, in milliseconds: also when nobody waits for the driver any more. */
const [forgetMs, hurriedMs] = [30_000, 1000]

export function csiPlugins({ drivers, keeper, came, gone, log }: CsiPluginsOptions): PluginHandler {
  const forget = async (name: string, signal: AbortSignal): Promise<void> => {
    await keeper?.remove(name, signal).catch((error: unknown) => {
      log.warn({ err: error, driver: name }, 'the API server could not be told that a CSI driver is gone')
    })
  }
  /** Nothing stays of a driver that cannot be used: no entry in the CSINode, none in the Node's annotation. */
  const undo = async (name: string, signal: AbortSignal): Promise<void> =>
    forget(name, AbortSignal.timeout(signal.aborted ? hurriedMs : forgetMs))

  /** Who registered last, by the driver's name: two plugins may have one endpoint. */
  const used = new Map<string, Plugin>()

  return {
    async register(plugin, signal) {
      const { name, endpoint, versions } = plugin
      let info: NodeInfo
      try {
        info = await drivers.register({ name, endpoint, versions }, signal)
      } catch (error) {
        // It did not say what this node is to it; another reason says nothing of a driver of the name that is there.
        if (error instanceof CsiError && !drivers.get(name)) await undo(name, signal)
        throw error
      }
      try {
        // It belongs to the Node, which may not be there yet.
        if (keeper) await aborted(keeper.initialized, signal)
      } catch (error) {
        drivers.deregister(name, endpoint)
        throw error
      }
      try {
        await keeper?.add(name, info, signal)
      } catch (error) {
        if (drivers.deregister(name, endpoint)) await undo(name, signal)
        throw error
      }
      used.set(name, plugin)
      came(name)
    },
    async deregister(plugin) {
      const { name, endpoint } = plugin
      // Another one of the name may have taken its place.
      if (used.get(name) !== plugin) return
      used.delete(name)
      if (!drivers.deregister(name, endpoint)) return
      gone(name)
      await forget(name, AbortSignal.timeout(forgetMs))
    },
  }
}
