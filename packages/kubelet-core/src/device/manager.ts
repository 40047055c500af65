// Devices of this node: which plugins offer which, and which container has which.
import { join } from 'node:path'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ResourceGiver } from '../admission/admission.ts'
import type { Clock } from '../clock.ts'
import { ContainerAllocateResponse, type RegisterRequest } from '../gen/deviceplugin.ts'
import type { Logger } from '../log.ts'
import { isSidecar } from '../pod/actions.ts'
import { parseQuantity } from '../quantity.ts'
import { type DeviceEntry, readDeviceCheckpoint, writeDeviceCheckpoint } from './checkpoint.ts'
import { byNode, chooseDevices, type Device } from './devices.ts'
import { type Endpoint, openEndpoint } from './endpoint.ts'
import { serveRegistration } from './registration.ts'

export interface DeviceManagerOptions {
  /** The kubelet's folder: plugins are in `device-plugins` below. */
  rootDir: string
  /** What the node has of a resource is another now; `podUids` are those whose devices changed. */
  changed(podUids: readonly string[]): void
  clock: Clock
  log: Logger
}

/** One device that a container has. @see v1.ResourceHealth */
export interface DeviceHealth {
  resourceID: string
  health: 'Healthy' | 'Unhealthy' | 'Unknown'
}

export interface DeviceManager extends ResourceGiver, AsyncDisposable {
  /** Listens for plugins. */
  start(): Promise<void>
  /** Resource → how many devices there are and how many may be given out. */
  resources(): ReadonlyMap<string, { capacity: number; allocatable: number }>
  /** What the container's devices need, one answer per resource. */
  answers(podUid: string, container: string): ContainerAllocateResponse[]
  /** To be called before the container starts, where the plugin wants to know. @throws Error of the plugin */
  preStart(podUid: string, container: string, signal: AbortSignal): Promise<void>
  /** Resource → its devices, and how they are. */
  health(podUid: string, container: string): ReadonlyMap<string, DeviceHealth[]>
}

interface Pool {
  devices: Map<string, Device>
  endpoint: Endpoint | undefined
  /** Forgets the capacity of a plugin that does not come back. */
  forget?: (() => void) | undefined
}

/** How long the devices of a plugin that is gone still count as capacity, in milliseconds. */
const stopGraceMs = 300_000

/** @throws Error naming a checkpoint that cannot be trusted */
export async function openDeviceManager({
  rootDir,
  changed,
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

  const connect = ({ endpoint: name, resourceName, options }: RegisterRequest): void => {
    const before = pools.get(resourceName)
    before?.forget?.()
    const pool: Pool = { devices: before?.devices ?? new Map<string, Device>(), endpoint: undefined }
    pools.set(resourceName, pool)
    before?.endpoint?.close()
    const wanted = options ?? { preStartRequired: false, getPreferredAllocationAvailable: false }
    pool.endpoint = openEndpoint(
      join(folder, name),
      wanted,
      (devices) => {
        if (pools.get(resourceName) !== pool) return
        pool.devices = new Map(devices.map((one) => [one.id, one]))
        changed(owners(resourceName))
      },
      (error) => lose(resourceName, pool, error),
    )
    log.info({ resource: resourceName, endpoint: name }, 'a device plugin registered')
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

  const give = async (
    uid: string,
    container: Container,
    resource: string,
    count: number,
    reusable: readonly string[],
    signal: AbortSignal,
  ): Promise<DeviceEntry> => {
    const pool = pools.get(resource)
    if (!pool?.endpoint) throw new Error(`can't allocate unregistered device ${resource}`)
    const taken = new Set(entries.filter((one) => one.ResourceName === resource).flatMap(idsOf))
    const healthy = [...pool.devices.values()].filter((one) => one.healthy).map(({ id }) => id)
    const free = healthy.filter((id) => !taken.has(id))
    const again = reusable.filter((id) => pool.devices.get(id)?.healthy)
    const available = new Set([...free, ...again])
    if (available.size < count) {
      throw new Error(
        `requested number of devices unavailable for ${resource}. Requested: ${count}, Available: ${available.size}`,
      )
    }
    const preferred = pool.endpoint.options.getPreferredAllocationAvailable
      ? await pool.endpoint.preferred([...available], again.slice(0, count), count, signal)
      : []
    const ids = chooseDevices({ free, reusable: again, count, preferred }) ?? []
    const answer = await pool.endpoint.allocate(ids, signal)
    return {
      PodUID: uid,
      ContainerName: container.name,
      ResourceName: resource,
      DeviceIDs: byNode(ids, pool.devices),
      AllocResp: Buffer.from(ContainerAllocateResponse.encode(answer).finish()).toString('base64'),
    }
  }

  const giveAll = async (pod: Pod, signal: AbortSignal): Promise<boolean> => {
    const uid = pod.metadata?.uid ?? ''
    let isNew = false
    /** Resource → devices of init containers that have ended when later ones start. */
    const reusable = new Map<string, string[]>()
    const inits = pod.spec?.initContainers ?? []
    for (const container of [...inits, ...(pod.spec?.containers ?? [])]) {
      for (const [resource, count] of wishesOf(container)) {
        if (!pools.has(resource)) continue // counted by somebody else, or by nobody
        const has = entries.find((one) => isFor(one, uid, container.name, resource))
        const entry = has ?? (await give(uid, container, resource, count, reusable.get(resource) ?? [], signal))
        if (!has) entries.push(entry)
        isNew ||= !has
        if (inits.includes(container) && !isSidecar(container)) {
          reusable.set(resource, [...new Set([...(reusable.get(resource) ?? []), ...idsOf(entry)])])
        } else {
          reusable.set(
            resource,
            (reusable.get(resource) ?? []).filter((id) => !idsOf(entry).includes(id)),
          )
        }
      }
    }
    return isNew
  }

  const drop = (uid: string): boolean => {
    const kept = entries.filter(({ PodUID }) => PodUID !== uid)
    const isLess = kept.length < entries.length
    entries.splice(0, entries.length, ...kept)
    return isLess
  }

  const ownOf = (podUid: string, container: string): DeviceEntry[] =>
    entries.filter((one) => one.PodUID === podUid && one.ContainerName === container)

  return {
    async start() {
      registration = await serveRegistration(folder, connect)
    },
    async admit(pod, signal) {
      const uid = pod.metadata?.uid ?? ''
      const had = entries.some(({ PodUID }) => PodUID === uid)
      try {
        if (await giveAll(pod, signal)) await save()
        return undefined
      } catch (error) {
        if (!had) drop(uid)
        signal.throwIfAborted()
        const message = `Allocate failed due to ${(error as Error).message}, which is unexpected`
        return { reason: 'UnexpectedAdmissionError', message }
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

const isFor = (entry: DeviceEntry, uid: string, container: string, resource: string): boolean =>
  entry.PodUID === uid && entry.ContainerName === container && entry.ResourceName === resource

/** Extended resources are asked for by limits, in whole numbers. */
function wishesOf({ resources }: Container): [string, number][] {
  return Object.entries(resources?.limits ?? {}).flatMap(([name, amount]): [string, number][] => {
    if (!name.includes('/')) return []
    const count = Number(parseQuantity(amount, `limits.${name}`))
    return count > 0 ? [[name, count]] : []
  })
}
