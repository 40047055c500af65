// One device plugin, as the kubelet calls it.
import { credentials, Metadata } from '@grpc/grpc-js'
import {
  type AllocateResponse,
  type ContainerAllocateResponse,
  DevicePluginClient,
  type DevicePluginOptions,
  Empty,
  type PreferredAllocationResponse,
} from '../gen/deviceplugin.ts'
import { called } from '../grpc-call.ts'
import type { Device } from './devices.ts'

export interface Endpoint {
  readonly options: DevicePluginOptions
  /** @throws Error of the plugin */
  allocate(ids: readonly string[], signal: AbortSignal): Promise<ContainerAllocateResponse>
  preferred(free: readonly string[], must: readonly string[], count: number, signal: AbortSignal): Promise<string[]>
  preStart(ids: readonly string[], signal: AbortSignal): Promise<void>
  close(): void
}

/** How long a plugin may take for a call, in milliseconds. */
const callMs = 30_000

/**
 * Connects and follows the plugin's list of devices.
 * @param listed called with each list
 * @param ended called once when the plugin is gone
 */
export function openEndpoint(
  socketPath: string,
  options: DevicePluginOptions,
  listed: (devices: Device[]) => void,
  ended: (error: Error | undefined) => void,
): Endpoint {
  const client = new DevicePluginClient(`unix://${socketPath}`, credentials.createInsecure())
  let isOver = false
  const end = (error?: Error): void => {
    if (isOver) return
    isOver = true
    stream.cancel()
    client.close()
    ended(error)
  }
  const stream = client.listAndWatch(Empty.create())
  stream.on(
    'data',
    ({ devices }: { devices: { ID: string; health: string; topology?: { nodes: { ID: bigint }[] } }[] }) => {
      listed(
        devices.map(({ ID, health, topology }) => ({
          id: ID,
          healthy: health === 'Healthy',
          nodes: (topology?.nodes ?? []).map((node) => Number(node.ID)),
        })),
      )
    },
  )
  stream.on('error', end)
  stream.on('end', () => end())

  return {
    options,
    async allocate(ids, signal) {
      const containerRequests = [{ devicesIds: [...ids] }]
      const { containerResponses } = await called<AllocateResponse>(
        (deadline, reply) => client.allocate({ containerRequests }, new Metadata(), deadline, reply),
        callMs,
        signal,
      )
      const [response] = containerResponses
      if (!response) throw new Error(`the plugin on ${socketPath} answered Allocate without a container`)
      return response
    },
    async preferred(free, must, count, signal) {
      const one = { availableDeviceIDs: [...free], mustIncludeDeviceIDs: [...must], allocationSize: count }
      const { containerResponses } = await called<PreferredAllocationResponse>(
        (deadline, reply) =>
          client.getPreferredAllocation({ containerRequests: [one] }, new Metadata(), deadline, reply),
        callMs,
        signal,
      )
      return containerResponses[0]?.deviceIDs ?? []
    },
    async preStart(ids, signal) {
      await called<unknown>(
        (deadline, reply) => client.preStartContainer({ devicesIds: [...ids] }, new Metadata(), deadline, reply),
        callMs,
        signal,
      )
    },
    close: () => end(),
  }
}
