// The controller side of the CSI drivers of this machine.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ControllerCapabilities, CsiController } from '@nodelet/csi-node/controller'

/** A driver that can be asked, and what it can do. */
export interface ControllerDriver {
  controller: CsiController
  can: ControllerCapabilities
}

/**
 * Finds the controller side of a CSI driver. Undefined: it is not here; whoever needs it looks again when a driver has registered on a
 * node. One without a controller service can nothing.
 * @throws CsiError when it is here and does not answer
 */
export type FindDriver = (name: string, signal: AbortSignal) => Promise<ControllerDriver | undefined>

const driverName = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/i

/** Drivers at `FOLDER/NAME/csi.sock`, where drivers listen for their kubelet: one socket serves both sides. */
export const driversIn =
  (folder: string): FindDriver =>
  async (name, signal) => {
    if (!driverName.test(name)) return undefined
    const endpoint = join(folder, name, 'csi.sock')
    const found = await stat(endpoint).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
      throw error
    })
    if (!found?.isSocket()) return undefined
    // gRPC comes with the first driver.
    const { openController } = await import('@nodelet/csi-node/controller')
    const controller = openController({ name, endpoint })
    return { controller, can: await controller.capabilities(signal) }
  }
