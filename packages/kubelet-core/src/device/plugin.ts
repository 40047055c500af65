// A device plugin of one's own: devices in, answers out; registration and its repetition are seen to.
import { existsSync, watch } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { credentials, Metadata, Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js'
import {
  type AllocateResponse,
  ContainerAllocateResponse,
  type DevicePluginServer,
  DevicePluginService,
  type Empty,
  ListAndWatchResponse,
  PreStartContainerResponse,
  RegistrationClient,
} from '../gen/deviceplugin.ts'
import { answered } from '../grpc-call.ts'
import type { Device } from './devices.ts'
import { deviceVersion, kubeletSocket } from './registration.ts'

/** What a container needs to use its devices. */
export interface DeviceAnswer {
  envs?: Record<string, string>
  mounts?: { containerPath: string; hostPath: string; readOnly: boolean }[]
  /** Permissions of r, w and m. */
  devices?: { containerPath: string; hostPath: string; permissions: string }[]
  annotations?: Record<string, string>
  /** CDI names, for instance `vendor.com/class=device`. */
  cdiDevices?: string[]
}

export interface DevicePluginOptions {
  /** For instance `example.com/gpu`. */
  resourceName: string
  /** The kubelet's folder of plugins; default `/var/lib/kubelet/device-plugins`. */
  folder?: string
  /** Of the plugin's own socket; default: made from the resource. */
  endpoint?: string
  devices: readonly Device[]
  /** Called when a container is to get these devices. */
  allocate(ids: readonly string[]): Promise<DeviceAnswer> | DeviceAnswer
  /** Called before such a container starts, if there is such a function. */
  preStart?(ids: readonly string[]): Promise<void> | void
  /** Which of the free ones it would rather give out, if there is such a function. */
  preferred?(free: readonly string[], must: readonly string[], count: number): Promise<string[]> | string[]
  /** Told of registrations that failed: the kubelet may not be there yet. */
  onError?(error: Error): void
}

export interface DevicePlugin extends AsyncDisposable {
  /** Tells the kubelet what there is now. */
  update(devices: readonly Device[]): void
}

/** Serves a plugin, and registers it with the kubelet now and each time that one starts anew. */
export async function serveDevicePlugin(options: DevicePluginOptions): Promise<DevicePlugin> {
  const { resourceName, folder = '/var/lib/kubelet/device-plugins', onError = () => undefined } = options
  const endpoint = options.endpoint ?? `${resourceName.replaceAll('/', '_')}.sock`
  const path = join(folder, endpoint)
  let { devices } = options
  const watchers = new Set<ServerWritableStream<Empty, ListAndWatchResponse>>()
  const list = (): ListAndWatchResponse =>
    ListAndWatchResponse.fromPartial({
      devices: devices.map(({ id, healthy, nodes }) => ({
        ID: id,
        health: healthy ? 'Healthy' : 'Unhealthy',
        ...(nodes.length > 0 && { topology: { nodes: nodes.map((node) => ({ ID: BigInt(node) })) } }),
      })),
    })
  const own = {
    preStartRequired: options.preStart !== undefined,
    getPreferredAllocationAvailable: options.preferred !== undefined,
  }
  const service: DevicePluginServer = {
    getDevicePluginOptions: (_call, reply) => reply(null, own),
    listAndWatch(call) {
      watchers.add(call)
      call.on('cancelled', () => watchers.delete(call))
      call.write(list())
    },
    getPreferredAllocation({ request }, reply) {
      void answered(reply, async () => ({
        containerResponses: await Promise.all(
          request.containerRequests.map(async ({ availableDeviceIDs, mustIncludeDeviceIDs, allocationSize }) => ({
            deviceIDs: [
              ...((await options.preferred?.(availableDeviceIDs, mustIncludeDeviceIDs, allocationSize)) ?? []),
            ],
          })),
        ),
      }))
    },
    allocate({ request }, reply) {
      void answered(reply, async (): Promise<AllocateResponse> => ({
        containerResponses: await Promise.all(
          request.containerRequests.map(async ({ devicesIds }) => {
            const { cdiDevices = [], ...answer } = await options.allocate(devicesIds)
            return ContainerAllocateResponse.fromPartial({
              ...answer,
              cdiDevices: cdiDevices.map((name) => ({ name })),
            })
          }),
        ),
      }))
    },
    preStartContainer({ request }, reply) {
      void answered(reply, async () => {
        await options.preStart?.(request.devicesIds)
        return PreStartContainerResponse.create()
      })
    },
  }
  const server = await listen(path, service)
  const register = (): void => {
    const client = new RegistrationClient(`unix://${join(folder, kubeletSocket)}`, credentials.createInsecure())
    const request = { version: deviceVersion, endpoint, resourceName, options: own }
    client.register(request, new Metadata(), { deadline: Date.now() + 10_000 }, (error) => {
      client.close()
      if (error) onError(error)
    })
  }
  let current = server
  let listening: Promise<unknown> = Promise.resolve()
  // A kubelet that starts removes all sockets, then makes its own: both are to be made again.
  const watcher = watch(folder, (_event, name) => {
    if (name !== kubeletSocket || !existsSync(join(folder, kubeletSocket))) return
    listening = listening
      .then(async () => {
        current.forceShutdown()
        current = await listen(path, service)
        register()
      })
      .catch((error: unknown) => onError(error as Error))
  })
  register()
  return {
    update(now) {
      devices = now
      for (const call of watchers) call.write(list())
    },
    async [Symbol.asyncDispose]() {
      watcher.close()
      await listening
      current.forceShutdown()
      await rm(path, { force: true })
    },
  }
}

async function listen(path: string, service: DevicePluginServer): Promise<Server> {
  await rm(path, { force: true })
  const server = new Server()
  server.addService(DevicePluginService, service)
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(new Error(`cannot listen on ${path}: ${error.message}`, { cause: error })) : resolve(),
    )
  })
  return server
}
