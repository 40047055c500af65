// The plugin's side of registration: a socket in the kubelet's folder, which is made again when somebody removes it.
import { existsSync, type FSWatcher, watch } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Server } from '@grpc/grpc-js'
import type { PluginInfo, RegistrationServer } from '../gen/pluginregistration.ts'
import { RegistrationService } from '../gen/pluginregistration.ts'
import { listenOn } from './socket.ts'

/** A kubelet that refuses the plugin hears that it was understood. */
const graceMs = 1000

export interface RegistrationOptions extends PluginInfo {
  /** The kubelet's folder; default `/var/lib/kubelet`. */
  rootDir?: string
  /** The kubelet uses the plugin. */
  onRegistered?(): void
  /** The kubelet refuses the plugin, its folder is gone, or the socket cannot be made again. */
  onError(error: Error): void
}

/** Answers who the plugin is, and hands on what came of it. */
export function registrationServer(options: RegistrationOptions): RegistrationServer {
  const { type, name, endpoint, supportedVersions, onRegistered, onError } = options
  return {
    getInfo: (_call, reply) => reply(null, { type, name, endpoint, supportedVersions }),
    notifyRegistrationStatus({ request: { pluginRegistered, error } }, reply) {
      reply(null, {})
      if (pluginRegistered) onRegistered?.()
      else onError(new Error(`the kubelet refuses ${name}: ${error}`))
    },
  }
}

/**
 * Serves `plugins_registry/NAME-reg.sock` below the kubelet's folder until disposed. The socket is made again when the folder
 * is wiped or made anew, as when a node is reset under a running plugin; when the kubelet's whole folder is gone, that is an error.
 * @throws Error naming the path when the first socket cannot be made
 */
export async function serveRegistration(options: RegistrationOptions): Promise<AsyncDisposable> {
  const { name, rootDir = '/var/lib/kubelet', onError } = options
  const folder = join(rootDir, 'plugins_registry')
  const path = join(folder, `${name}-reg.sock`)
  let serving: AsyncDisposable | undefined
  let watchers: FSWatcher[] = []
  let work: Promise<void> = Promise.resolve()
  let ended = false

  const make = async (): Promise<void> => {
    // Who resets a node would find its folder again.
    if (serving && !existsSync(rootDir)) throw new Error(`the kubelet's folder ${rootDir} is gone`)
    await mkdir(folder, { recursive: true, mode: 0o755 })
    for (const watcher of watchers) watcher.close()
    // The parent tells when the folder itself goes. Watching begins first: what happens meanwhile is seen.
    watchers = [rootDir, folder].map((watched) => watch(watched, () => look()))
    for (const watcher of watchers) watcher.on('error', onError)
    if (existsSync(path) && serving) return
    await serving?.[Symbol.asyncDispose]()
    const server = new Server()
    server.addService(RegistrationService, registrationServer(options))
    serving = await listenOn(server, path, graceMs)
  }
  const look = (): void => {
    if (existsSync(path)) return
    work = work.then(async () => {
      if (ended || existsSync(path)) return
      await make().catch((error: unknown) => onError(error as Error))
    })
  }

  const unwatch = (): void => watchers.forEach((watcher) => watcher.close())

  try {
    await make()
  } catch (error) {
    unwatch()
    throw error
  }
  return {
    async [Symbol.asyncDispose]() {
      ended = true
      unwatch()
      await work
      unwatch() // those of the last `make`
      await serving?.[Symbol.asyncDispose]()
    },
  }
}
