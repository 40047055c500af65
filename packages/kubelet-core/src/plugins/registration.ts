// Registration of one plugin: asked who it is, given to those who need it, told what came of it.
import { credentials, Metadata } from '@grpc/grpc-js'
import { type PluginInfo, RegistrationClient } from '@nodelet/csi-node/registration'
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
  /** Takes a plugin, also one that was there before. @throws Error why it cannot be used, which the plugin is told */
  register(plugin: Plugin, signal: AbortSignal): Promise<void> | void
  /** The plugin has removed its socket. */
  deregister(plugin: Plugin): Promise<void> | void
}

/** `CSIPlugin`, `DRAPlugin` or `DevicePlugin` → who uses it. */
export type PluginHandlers = ReadonlyMap<string, PluginHandler>

export interface Registered {
  plugin: Plugin
  handler: PluginHandler
}

/** How long a plugin may take until it has answered who it is, in milliseconds. */
const infoMs = 10_000
/** How long it may take to hear what came of it. */
const notifyMs = 5000

/** @throws Error naming the socket: nobody answers, or the plugin is refused, which it has been told */
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
    try {
      await called(
        (deadline, reply) => client.notifyRegistrationStatus(status, new Metadata(), deadline, reply),
        notifyMs,
        signal,
      )
    } catch (cause) {
      if (!signal.aborted) log.warn({ err: cause, socket }, 'a plugin could not be told what came of its registration')
    }
  }
  try {
    // The socket may be there before its plugin listens.
    const patient = new Metadata({ waitForReady: true })
    const info = await called<PluginInfo>(
      (deadline, reply) => client.getInfo({}, patient, deadline, reply),
      infoMs,
      signal,
    )
    const plugin = { name: info.name, endpoint: info.endpoint || socket, versions: info.supportedVersions }
    try {
      const handler = handlerOf(info, plugin, handlers)
      await handler.register(plugin, signal)
      await notify('')
      return { plugin, handler }
    } catch (error) {
      await notify((error as Error).message)
      throw error
    }
  } catch (cause) {
    signal.throwIfAborted()
    throw new Error(`plugin on ${socket}: ${(cause as Error).message}`, { cause })
  } finally {
    client.close()
  }
}

function handlerOf({ type }: PluginInfo, { name, endpoint }: Plugin, handlers: PluginHandlers): PluginHandler {
  if (name === '') throw new Error('the plugin has no name')
  if (!endpoint.startsWith('/')) throw new Error(`endpoint ${JSON.stringify(endpoint)}: must be an absolute path`)
  const handler = handlers.get(type)
  if (handler) return handler
  const known = [...handlers.keys()].join(', ')
  throw new Error(`plugins of type ${JSON.stringify(type)} are not supported by this kubelet: it has ${known}`)
}
