// Devices of this node: which plugins offer which, and which container has which.
import { join } from 'node:path'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import { ContainerAllocateResponse, type DevicePluginOptions } from '../gen/deviceplugin.ts'
import type { Logger } from '../log.ts'
import type { PluginHandler } from '../plugins/registration.ts'
import { parseQuantity } from '../quantity.ts'
import { type DeviceEntry, readDeviceCheckpoint, writeDeviceCheckpoint } from './checkpoint.ts'
import type { ResourceHints, TopologyHint } from '../topology/hints.ts'
import { masksOf, type NumaNode } from '../topology/numa.ts'
import { containersOf, peakOf, reusableFor, type ShareGiver } from '../topology/share.ts'
import { byNode, chooseDevices, type Device, deviceHints, nearTo } from './devices.ts'
import { type Endpoint, openEndpoint } from './endpoint.ts'
import { devicePluginHandler } from './plugin-handler.ts'
import { serveRegistration } from './registration.ts'

export interface DeviceManagerOptions {
  /** The machine's. */
  nodes: readonly NumaNode[]
  /** The kubelet's folder: plugins are in `device-plugins` below. */
  rootDir: string
  /** What the node has of a resource is another now; `podUids` are those whose devices changed. */
  changed(podUids: readonly string[]): void
  /** A plugin has come, for the first time or again. */
  registered?: (resource: string) => void
  /** A plugin has given devices to a container; so long it took. */
  allocated?: (resource: string, ms: number) => void
  clock: Clock
  log: Logger
}

/** A device, and what it is one of. */
export interface KnownDevice {
  resource: string
  device: Device
}

/** One device that a container has. @see v1.ResourceHealth */
export interface DeviceHealth {
  resourceID: string
  health: 'Healthy' | 'Unhealthy' | 'Unknown'
}

export interface DeviceManager extends ShareGiver, AsyncDisposable {
  /** Listens for plugins. */
  start(): Promise<void>
  /** Of plugins that the kubelet finds by their sockets. */
  plugins: PluginHandler
  /** Resource → how many devices there are and how many may be given out. */
  resources(): ReadonlyMap<string, { capacity: number; allocatable: number }>
  /** What the container's devices need, one answer per resource. */
  answers(podUid: string, container: string): ContainerAllocateResponse[]
  /** To be called before the container starts, where the plugin wants to know. @throws Error of the plugin */
  preStart(podUid: string, container: string, signal: AbortSignal): Promise<void>
  /** Those that the container has. */
  devicesOf(podUid: string, container: string): KnownDevice[]
  /** Those that containers may have, given out or not. */
  allocatable(): KnownDevice[]
  /** Resource → its devices, and how they are. */
  health(podUid: string, container: string): ReadonlyMap<string, DeviceHealth[]>
}

interface Pool {
  devices: Map<string, Device>
  endpoint: Endpoint | undefined
  /** Of the endpoint. */
  socket?: string
  /** Forgets the capacity of a plugin that does not come back. */
  forget?: (() => void) | undefined
}

/** How long the devices of a plugin that is gone still count as capacity, in milliseconds. */
const stopGraceMs = 300_000

/** @throws Error naming a checkpoint that cannot be trusted */
export async function openDeviceManager({
  rootDir,
  nodes,
  changed,
  registered,
  allocated,
  clock,
  log,
}: DeviceManagerOptions): Promise<DeviceManager> {
  const folder = join(rootDir, 'device-plugins')
  const path = join(folder, 'kubelet_internal_checkpoint')
  const checkpoint = await readDeviceCheckpoint(path)
  const entries: DeviceEntry[] = [...checkpoint.PodDeviceEntries]
  const pools = new Map<string, Pool>()
  for (const [name, ids] of Object.entries(checkpoint.RegisteredDevices)) {
    // Until its plugin is back, nothing of it can be given out.
    const devices = new Map(ids.map((id) => [id, { id, healthy: false, nodes: [] }]))
    pools.set(name, { devices, endpoint: undefined })
  }
  const masks = masksOf(nodes.map(({ id }) => id))
  let registration: AsyncDisposable | undefined
  let closed = false

  const idsOf = ({ DeviceIDs }: DeviceEntry): string[] => [...new Set(Object.values(DeviceIDs).flat())]
  const owners = (resource: string): string[] =>
    entries.filter(({ ResourceName }) => ResourceName === resource).map(({ PodUID }) => PodUID)
  const save = async (): Promise<void> => {
    const healthy = [...pools].map(([name, { devices }]): [string, string[]] => [
      name,
      [...devices.values()].filter((one) => one.healthy).map(({ id }) => id),
    ])
    await writeDeviceCheckpoint(path, { PodDeviceEntries: entries, RegisteredDevices: Object.fromEntries(healthy) })
  }

  const connect = (resource: string, socket: string, options: DevicePluginOptions | undefined): void => {
    const before = pools.get(resource)
    before?.forget?.()
    const pool: Pool = { devices: before?.devices ?? new Map<string, Device>(), endpoint: undefined, socket }
    pools.set(resource, pool)
    before?.endpoint?.close()
    const wanted = options ?? { preStartRequired: false, getPreferredAllocationAvailable: false }
    pool.endpoint = openEndpoint(
      socket,
      wanted,
      (devices) => {
        if (pools.get(resource) !== pool) return
        pool.devices = new Map(devices.map((one) => [one.id, one]))
        changed(owners(resource))
      },
      (error) => lose(resource, pool, error),
    )
    registered?.(resource)
    log.info({ resource, endpoint: socket }, 'a device plugin registered')
  }

  const lose = (resource: string, pool: Pool, error: Error | undefined): void => {
    if (closed || pools.get(resource) !== pool) return
    log.warn({ err: error, resource }, 'a device plugin is gone: its devices are not given out')
    pool.endpoint = undefined
    pool.devices = new Map([...pool.devices].map(([id, one]) => [id, { ...one, healthy: false }]))
    pool.forget = clock.after(stopGraceMs, () => {
      pool.devices = new Map()
      changed([])
    })
    changed(owners(resource))
  }

  const ownOf = (podUid: string, container: string): DeviceEntry[] =>
    entries.filter((one) => one.PodUID === podUid && one.ContainerName === container)
  const entryOf = (pod: Pod, container: string, resource: string): DeviceEntry | undefined =>
    ownOf(pod.metadata?.uid ?? '', container).find(({ ResourceName }) => ResourceName === resource)
  const reusableOf = (pod: Pod, container: Container, resource: string): string[] =>
    reusableFor(pod, container, (name) => {
      const entry = entryOf(pod, name, resource)
      return entry ? idsOf(entry) : []
    })
  const freeOf = (resource: string, { devices }: Pool): string[] => {
    const taken = new Set(entries.filter((one) => one.ResourceName === resource).flatMap(idsOf))
    return [...devices.values()].filter(({ id, healthy }) => healthy && !taken.has(id)).map(({ id }) => id)
  }
  /** Those that somebody counts, and who counts them. */
  const knownWishes = (container: Container): [resource: string, count: number, pool: Pool][] =>
    wishesOf(container).flatMap(([resource, count]): [string, number, Pool][] => {
      const pool = pools.get(resource)
      return pool ? [[resource, count, pool]] : [] // counted by somebody else, or by nobody
    })

  const give = async (
    pod: Pod,
    container: Container,
    [resource, count, pool]: [string, number, Pool],
    { affinity }: TopologyHint,
    signal: AbortSignal,
  ): Promise<DeviceEntry> => {
    const { endpoint, devices } = pool
    if (!endpoint) throw new Error(`can't allocate unregistered device ${resource}`)
    const free = freeOf(resource, pool)
    const reusable = reusableOf(pod, container, resource).filter((id) => devices.get(id)?.healthy)
    const available = new Set([...free, ...reusable])
    if (available.size < count) {
      throw new Error(
        `requested number of devices unavailable for ${resource}. Requested: ${count}, Available: ${available.size}`,
      )
    }
    const near = nearTo(affinity, free, devices)
    const ask = async (from: readonly string[], must: readonly string[]): Promise<string[]> =>
      endpoint.options.getPreferredAllocationAvailable ? endpoint.preferred([...from], [...must], count, signal) : []
    // Where the place has enough, the plugin chooses among what is there.
    const must = reusable.slice(0, count)
    const isEnough = near.length >= count - must.length
    const preferred = isEnough
      ? await ask([...must, ...near], must)
      : await ask([...available], [...must, ...near].slice(0, count))
    const order = isEnough ? near : [...near.toSorted(), ...preferred]
    const ids = chooseDevices({ free, reusable, near: order, count, preferred: isEnough ? preferred : [] }) ?? []
    const askedMs = performance.now()
    const answer = await endpoint.allocate(ids, signal)
    allocated?.(resource, performance.now() - askedMs)
    return {
      PodUID: pod.metadata?.uid ?? '',
      ContainerName: container.name,
      ResourceName: resource,
      DeviceIDs: byNode(ids, devices),
      AllocResp: Buffer.from(ContainerAllocateResponse.encode(answer).finish()).toString('base64'),
    }
  }

  const hintsOf = (
    wishes: readonly [string, number, Pool][],
    hasOf: (resource: string) => readonly string[] | undefined,
    reusableIn: (resource: string) => readonly string[],
  ): ReadonlyMap<string, ResourceHints> =>
    new Map(
      wishes.map(([resource, count, pool]) => {
        const [has, reusable] = [hasOf(resource), reusableIn(resource)]
        if (has && has.length !== count) return [resource, []]
        return [resource, deviceHints(masks, pool.devices, count, has ?? freeOf(resource, pool), has ? [] : reusable)]
      }),
    )

  const drop = (uid: string): boolean => {
    const kept = entries.filter(({ PodUID }) => PodUID !== uid)
    const isLess = kept.length < entries.length
    entries.splice(0, entries.length, ...kept)
    return isLess
  }

  return {
    async start() {
      registration = await serveRegistration(folder, ({ endpoint, resourceName, options }) =>
        connect(resourceName, join(folder, endpoint), options),
      )
    },
    plugins: devicePluginHandler(connect, (resource, socket) => {
      const pool = pools.get(resource)
      if (pool?.socket === socket) pool.endpoint?.close()
    }),
    hints: (pod, container) =>
      hintsOf(
        knownWishes(container),
        (resource) => {
          const entry = entryOf(pod, container.name, resource)
          return entry && idsOf(entry)
        },
        (resource) => reusableOf(pod, container, resource),
      ),
    podHints(pod) {
      const all = containersOf(pod).flatMap(knownWishes)
      const peaks = [...new Map(all.map(([resource, , pool]) => [resource, pool]))].map(
        ([resource, pool]): [string, number, Pool] => [
          resource,
          peakOf(pod, (one) => wishesOf(one).find(([name]) => name === resource)?.[1] ?? 0),
          pool,
        ],
      )
      const has = (resource: string): string[] =>
        entries.filter((one) => one.PodUID === pod.metadata?.uid && one.ResourceName === resource).flatMap(idsOf)
      return hintsOf(
        peaks.map(([resource, count, pool]) => [resource, has(resource).length || count, pool]),
        (resource) => (has(resource).length > 0 ? has(resource) : undefined),
        () => [],
      )
    },
    async give(pod, container, place, signal) {
      for (const wish of knownWishes(container)) {
        if (entryOf(pod, container.name, wish[0])) continue
        entries.push(await give(pod, container, wish, place, signal))
        await save()
      }
    },
    async release(podUid) {
      if (drop(podUid)) await save()
    },
    resources() {
      return new Map(
        [...pools].map(([name, { devices }]) => {
          const allocatable = [...devices.values()].filter(({ healthy }) => healthy).length
          return [name, { capacity: devices.size, allocatable }]
        }),
      )
    },
    answers: (podUid, container) =>
      ownOf(podUid, container).map(({ AllocResp }) =>
        ContainerAllocateResponse.decode(Buffer.from(AllocResp, 'base64')),
      ),
    async preStart(podUid, container, signal) {
      for (const entry of ownOf(podUid, container)) {
        const { endpoint } = pools.get(entry.ResourceName) ?? {}
        if (endpoint?.options.preStartRequired) await endpoint.preStart(idsOf(entry), signal)
      }
    },
    devicesOf: (podUid, container) =>
      ownOf(podUid, container).flatMap((entry) =>
        idsOf(entry).map((id) => {
          // A plugin that is gone has taken with it where its devices are; the entry remembers.
          const nodes = Object.keys(entry.DeviceIDs).map(Number)
          const near = nodes.filter((node) => node >= 0 && entry.DeviceIDs[node]?.includes(id))
          return { resource: entry.ResourceName, device: { id, healthy: true, nodes: near } }
        }),
      ),
    allocatable: () =>
      [...pools].flatMap(([resource, { devices }]) =>
        [...devices.values()].filter(({ healthy }) => healthy).map((device) => ({ resource, device })),
      ),
    health(podUid, container) {
      return new Map(
        ownOf(podUid, container).map((entry) => {
          const devices = pools.get(entry.ResourceName)?.devices
          const healthOf = (id: string): DeviceHealth['health'] => {
            const device = devices?.get(id)
            return device ? (device.healthy ? 'Healthy' : 'Unhealthy') : 'Unknown'
          }
          return [entry.ResourceName, idsOf(entry).map((id) => ({ resourceID: id, health: healthOf(id) }))]
        }),
      )
    },
    async [Symbol.asyncDispose]() {
      closed = true
      await registration?.[Symbol.asyncDispose]()
      for (const { endpoint, forget } of pools.values()) {
        forget?.()
        endpoint?.close()
      }
    },
  }
}

/** Extended resources are asked for by limits, in whole numbers. */
function wishesOf({ resources }: Container): [string, number][] {
  return Object.entries(resources?.limits ?? {}).flatMap(([name, amount]): [string, number][] => {
    if (!name.includes('/')) return []
    const count = Number(parseQuantity(amount, `limits.${name}`))
    return count > 0 ? [[name, count]] : []
  })
}
