// Registration of one plugin: asked who it is, given to those who need it, told what came of it.
import { credentials, Metadata } from '@grpc/grpc-js'
import { type PluginInfo, RegistrationClient } from '@nodelet/csi-node/registration'
import { aborted } from '../aborted.ts'
import { called } from '../grpc-call.ts'
import type { Logger } from '../log.ts'

/** As it says of itself. */
export interface Plugin {
  /** Of a driver, or of a resource. */
  name: string
  /** The socket that serves it. */
  endpoint: string
  /** Versions of its protocol, or services; what it means is the handler's to say. */
  versions: readonly string[]
}

/** Uses plugins of one type. */
export interface PluginHandler {
  /** Takes a plugin, also one that was there before. @throws Error why it cannot be used: the plugin is told, and asked again later */
  register(plugin: Plugin, signal: AbortSignal): Promise<void> | void
  /** The plugin has removed its socket, or could not be told that it is used. */
  deregister(plugin: Plugin): Promise<void> | void
}

/** `CSIPlugin`, `DRAPlugin` or `DevicePlugin` → who uses it. */
export type PluginHandlers = ReadonlyMap<string, PluginHandler>

export interface Registered {
  plugin: Plugin
  handler: PluginHandler
}

/** How long a plugin may take to listen, to say who it is and to hear what came of it, in milliseconds. */
const [dialMs, infoMs, notifyMs] = [10_000, 1000, 5000]

/** @throws Error naming the socket: nobody answers, the plugin is refused, which it has been told, or does not hear that it is used */
export async function registerPlugin(
  socket: string,
  handlers: PluginHandlers,
  log: Logger,
  signal: AbortSignal,
): Promise<Registered> {
  const client = new RegistrationClient(`unix://${socket}`, credentials.createInsecure(), {
    // What other clients found out of a socket of the same path says nothing of this one.
    'grpc.use_local_subchannel_pool': 1,
  })
  const notify = async (error: string): Promise<void> => {
    const status = { pluginRegistered: error === '', error }
    await called(
      (deadline, reply) => client.notifyRegistrationStatus(status, new Metadata(), deadline, reply),
      notifyMs,
      signal,
    )
  }
  const refuse = async (error: Error): Promise<never> => {
    await notify(error.message).catch((cause: unknown) => {
      if (!signal.aborted) log.warn({ err: cause, socket }, 'a plugin could not be told that it is refused')
    })
    throw error
  }
  try {
    // The socket may be there before its plugin listens.
    await connected(client, signal)
    const info = await called<PluginInfo>(
      (deadline, reply) => client.getInfo({}, new Metadata(), deadline, reply),
      infoMs,
      signal,
    )
    const handler = handlers.get(info.type)
    if (!handler)
      return await refuse(new Error(`no handler registered for plugin type: ${info.type} at socket ${socket}`))
    const plugin = { name: info.name, endpoint: info.endpoint || socket, versions: info.supportedVersions }
    try {
      check(plugin)
      await handler.register(plugin, signal)
    } catch (error) {
      return await refuse(error as Error)
    }
    try {
      await notify('')
    } catch (error) {
      // It does not know that it is used: as if its socket were gone.
      await handler.deregister(plugin)
      throw error
    }
    return { plugin, handler }
  } catch (cause) {
    signal.throwIfAborted()
    throw new Error(`plugin on ${socket}: ${(cause as Error).message}`, { cause })
  } finally {
    client.close()
  }
}

/** @throws Error: nobody listens in time; the signal's reason */
async function connected(client: RegistrationClient, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  client.waitForReady(Date.now() + dialMs, (error) => (error ? reject(error) : resolve()))
  await aborted(promise, signal)
}

/** @throws Error naming the field */
function check({ name, endpoint }: Plugin): void {
  if (name === '') throw new Error('the plugin has no name')
  if (!endpoint.startsWith('/')) throw new Error(`endpoint ${JSON.stringify(endpoint)}: must be an absolute path`)
}
