// The runtime by itself, behind a socket.
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createCni, loadPlugins, standardPlugins } from '@nodelet/cni-plugins'
import type { Cni } from '@nodelet/cni-plugins'
import type { Logger } from 'pino'
import { openRuntime, serveRuntime } from '../daemon.ts'
import type { Runtime } from '../daemon.ts'
import { openImages } from '../image/images.ts'
import { createStreamAdapters } from '../streaming/adapters.ts'
import { openStreaming } from '../streaming/server.ts'
import { ownVersion } from '../version.ts'
import type { DaemonConfig } from './config.ts'
import { createGate } from './gate.ts'

const name = 'nodelet'

/**
 * Listens at once, and serves when recovery is done. Disposing leaves the containers running.
 *
 * @throws Error when the socket or the folders are another process's, or runc or conmon is not there.
 */
export async function openDaemon(config: DaemonConfig, log: Logger): Promise<AsyncDisposable> {
  const { root, run, listen } = config
  await Promise.all([root, run, dirname(listen)].map((folder) => mkdir(folder, { recursive: true, mode: 0o711 })))
  await using opening = new AsyncDisposableStack()
  const gate = createGate({ name, version: await ownVersion() })
  const server = opening.use(await serveRuntime(gate, { socketPath: listen }))
  const parts = opening.use(new AsyncDisposableStack())
  gate.open(await openParts(config, log, parts))
  const opened = opening.move()
  const dispose = async (): Promise<void> => {
    await server.close() // calls under way still have their runtime
    await opened.disposeAsync()
  }
  return { [Symbol.asyncDispose]: dispose }
}

async function openParts(config: DaemonConfig, log: Logger, parts: AsyncDisposableStack): Promise<Runtime> {
  const { root, run, cgroupParent } = config
  const onProblem = (error: Error): void => log.warn({ err: error }, 'went wrong in the background')
  const images = parts.use(
    await openImages({
      root: join(root, 'images'),
      maxParallelLayers: config.maxConcurrentDownloads,
      pinnedImages: config.pinnedImages,
      registryConfigPath: config.registry.configPath,
      imagePullProgressTimeout: config.imagePullProgressTimeout,
      onProblem,
    }),
  )
  return parts.use(
    await openRuntime({
      stateDir: join(root, 'runtime'),
      runDir: run,
      runtimeName: name,
      handlers: config.handlers,
      cgroupDriver: config.cgroupDriver,
      defaultHandler: config.defaultHandler,
      cdiSpecDirs: config.cdiSpecDirs,
      deviceOwnershipFromSecurityContext: config.deviceOwnershipFromSecurityContext,
      enableSelinux: config.enableSelinux,
      cni: await openCni(config, log, parts),
      images,
      streaming: async (backend) =>
        openStreaming({
          ...(await createStreamAdapters(backend)),
          address: config.streamServerAddress,
          port: config.streamServerPort,
          idleTimeoutMs: config.streamIdleTimeout,
        }),
      cgroupParentDefault: cgroupParent,
      onProblem,
    }),
  )
}

async function openCni({ root, cni }: DaemonConfig, log: Logger, parts: AsyncDisposableStack): Promise<Cni> {
  const { confDir, binDirs, inProcess, pluginDir, pluginPackages, packageDirs } = cni
  const custom = parts.use(await loadPlugins({ dir: pluginDir, packages: pluginPackages, packageDirs, log }))
  return parts.use(
    createCni({
      confDir,
      binDirs,
      cacheDir: join(root, 'cni'),
      plugins: [...(inProcess ? standardPlugins : []), ...custom.plugins],
      unloaded: custom.unloaded,
      log,
    }),
  )
}
