// Device plugins that the kubelet finds by a socket in `plugins_registry`, as it does drivers.
import { basename } from 'node:path'
import { credentials, Metadata } from '@grpc/grpc-js'
import { DevicePluginClient, type DevicePluginOptions } from '../gen/deviceplugin.ts'
import { called } from '../grpc-call.ts'
import type { PluginHandler } from '../plugins/registration.ts'
import { deviceVersion, registrationProblem } from './registration.ts'

/** How long a plugin may take to say what it can, in milliseconds. */
const optionsMs = 10_000

export function devicePluginHandler(
  connect: (resource: string, socket: string, options: DevicePluginOptions) => void,
  disconnect: (resource: string, socket: string) => void,
): PluginHandler {
  return {
    async register({ name: resourceName, endpoint, versions }, signal) {
      const problem = registrationProblem({
        version: versions.includes(deviceVersion) ? deviceVersion : versions.join(),
        endpoint: basename(endpoint),
        resourceName,
        options: undefined,
      })
      if (problem !== undefined) throw new Error(problem)
      connect(resourceName, endpoint, await optionsOf(endpoint, signal))
    },
    deregister: ({ name, endpoint }) => disconnect(name, endpoint),
  }
}

/** @throws Error of the plugin */
async function optionsOf(socket: string, signal: AbortSignal): Promise<DevicePluginOptions> {
  const client = new DevicePluginClient(`unix://${socket}`, credentials.createInsecure())
  try {
    return await called<DevicePluginOptions>(
      (deadline, reply) => client.getDevicePluginOptions({}, new Metadata(), deadline, reply),
      optionsMs,
      signal,
    )
  } finally {
    client.close()
  }
}
