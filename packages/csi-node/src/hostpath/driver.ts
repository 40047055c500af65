// A CSI driver of folders and of images on loop devices, for machines that develop and test.
import { mkdir, realpath } from 'node:fs/promises'
import { lockFolder } from '@nodelet/linux'
import { createDriver, type Driver, type ServeDriverOptions, type ServingDriver } from '../sdk/driver.ts'
import { controllerFunctions } from './controller.ts'
import { nodeFunctions } from './node.ts'
import { type HostpathOptions, type Settings, settingsOf } from './options.ts'
import { openStore } from './store.ts'

/**
 * `serve` opens the driver's folder and finishes what a kill left half-done; it is rejected with an Error when another process
 * has the folder or its state is damaged.
 * @throws CsiError INVALID_ARGUMENT that names the option
 */
export function createHostpathDriver(options: HostpathOptions = {}): Driver {
  const settings = settingsOf(options)
  return { name: settings.name, serve: async (serving = {}) => serve(settings, options, serving) }
}

async function serve(wanted: Settings, options: HostpathOptions, serving: ServeDriverOptions): Promise<ServingDriver> {
  await mkdir(wanted.stateDir, { recursive: true, mode: 0o700 })
  // As the kernel names it in its table of mounts.
  const settings = { ...wanted, stateDir: await realpath(wanted.stateDir) }
  using opening = new DisposableStack()
  opening.use(await lockFolder(settings.stateDir))
  const store = await openStore(settings.stateDir)
  options.log?.info(
    { stateDir: settings.stateDir, ...(store.noQuotas && { reason: store.noQuotas.message }) },
    store.noQuotas
      ? 'the sizes of folders are told and not kept: this file system has no project quotas (mount it with prjquota)'
      : 'the sizes of folders are kept by project quotas',
  )
  const driver = createDriver({
    name: settings.name,
    version: '0.1.0',
    ...(options.log && { log: options.log }),
    hasTopology: settings.enableTopology,
    node: nodeFunctions(store, settings),
    controller: controllerFunctions(store, settings),
  })
  const served = await driver.serve(serving)
  const held = opening.move()
  const end = (): void => held.dispose()
  served.ended.then(end, end)
  const close = async (): Promise<void> => served.close().finally(end)
  return { socketPath: served.socketPath, ended: served.ended, close, [Symbol.asyncDispose]: close }
}
