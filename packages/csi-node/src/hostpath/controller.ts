// Volumes made, found, grown and deleted.
import { existsSync } from 'node:fs'
import { statfs, truncate } from 'node:fs/promises'
import { CsiError } from '../sdk/errors.ts'
import type {
  ContentSource,
  ControllerFunctions,
  Topology,
  Volume,
  VolumeCapability,
  VolumeStatus,
} from '../sdk/types.ts'
import { type Settings, topologyKey } from './options.ts'
import { planVolume, refuseDifferent, refuseOverCapacity, sizeOf, usedBytes } from './plan.ts'
import { pageOf } from './page.ts'
import type { Content, VolumeRecord } from './records.ts'
import { snapshotFunctions } from './snapshots.ts'
import { newContentName, type Store } from './store.ts'
import { frozenPath, isInUse, volumeOf } from './volume.ts'

export function controllerFunctions(store: Store, settings: Settings): ControllerFunctions {
  const { records } = store
  const told = (record: VolumeRecord): Volume => ({
    volumeId: record.id,
    capacityBytes: record.sizeBytes,
    ...(record.source && { contentSource: record.source }),
    ...(settings.enableTopology && { topology: [{ [topologyKey]: settings.nodeId }] }),
  })
  const entry = (record: VolumeRecord): { volume: Volume; status: VolumeStatus } => ({
    volume: told(record),
    status: {
      publishedNodeIds: record.attached ? [settings.nodeId] : [],
      condition: conditionOf(store, record),
    },
  })
  return {
    ...attachFunctions(store, settings),
    ...snapshotFunctions(store),
    clones: true,
    multiWriter: true,
    reportsCondition: true,
    create: async (request, { signal }) => {
      const { name, contentSource } = request
      refuseElsewhere(settings, request.topology)
      const found = [...records.current.volumes.values()].find((each) => each.name === name && !each.isDeleting)
      if (found) {
        // What it was copied from may be gone.
        refuseDifferent(found, request, planVolume(request, settings, undefined))
        return told(found)
      }
      const source = contentSource && sourceOf(store, contentSource)
      const plan = planVolume(request, settings, source?.content)
      const id = newContentName()
      const project = plan.backing === 'folder' && plan.sizeBytes > 0 ? store.newProject() : undefined
      const record: VolumeRecord = {
        ...plan,
        ...(project !== undefined && { project }),
        id,
        data: id,
        name,
        ...(contentSource && { source: contentSource }),
        isEphemeral: false,
        // Of what it is copied from it may have to grow as well.
        grows: plan.fsType !== '' && source !== undefined,
        isDeleting: false,
        published: [],
      }
      // Before the work, and again when it is done and others may have had the rest.
      refuseOverCapacity(records.current, settings, plan.kind, plan.sizeBytes)
      const add: Parameters<Store['make']>[3] = (state) => {
        refuseOverCapacity(state, settings, plan.kind, plan.sizeBytes)
        state.volumes.set(id, record)
      }
      await store.make('volumes', record, source && (await withFreeze(source)), add, signal)
      return told(record)
    },
    delete: async ({ volumeId }) => {
      const record = records.current.volumes.get(volumeId)
      if (!record) return
      if (await isInUse(store, record)) {
        throw new CsiError('FAILED_PRECONDITION', `volume ${volumeId} is in use on node ${settings.nodeId}`)
      }
      if (record.attached) throw new CsiError('FAILED_PRECONDITION', `volume ${volumeId} is attached`)
      await store.remove('volumes', volumeId)
    },
    validate: ({ volumeId, capabilities }) => {
      const record = volumeOf(records, volumeId)
      return capabilities.map((each) => whyNot(record, each)).find((against) => against !== undefined)
    },
    list: (request) => pageOf([...records.current.volumes.values()].filter(isLasting), request, entry),
    get: ({ volumeId }) => entry(volumeOf(records, volumeId)),
    capacity: async ({ parameters, topology }) => {
      const { [topologyKey]: node = settings.nodeId } = topology ?? {}
      const { kind = '' } = parameters
      if (node !== settings.nodeId) return { availableBytes: 0 }
      const availableBytes = await freeBytes(store, settings, kind)
      return { availableBytes, maximumVolumeBytes: Math.min(availableBytes, settings.maxVolumeSize) }
    },
    expand: async ({ volumeId, range }) => expand(store, settings, volumeId, range),
  }
}

/** @throws CsiError RESOURCE_EXHAUSTED: none of the places is this node */
function refuseElsewhere({ nodeId, enableTopology }: Settings, topology: Topology | undefined): void {
  if (!enableTopology || !topology || topology.requisite.length === 0) return
  const isHere = topology.requisite.some((segments) =>
    Object.entries(segments).every(([key, value]) => key === topologyKey && value === nodeId),
  )
  if (!isHere) throw new CsiError('RESOURCE_EXHAUSTED', `accessibility_requirements: volumes are on node ${nodeId}`)
}

const isLasting = ({ isEphemeral, isDeleting }: VolumeRecord): boolean => !isEphemeral && !isDeleting

export function whyNot(record: VolumeRecord, capability: VolumeCapability): string | undefined {
  if ((capability.kind === 'block') !== record.isBlock) {
    return `volume ${record.id} is ${record.isBlock ? 'a block volume' : 'mounted'}, not ${capability.kind}`
  }
  if (capability.kind === 'block' || capability.fsType === '' || record.backing === 'folder') return undefined
  return capability.fsType === record.fsType
    ? undefined
    : `volume ${record.id} has the file system ${record.fsType}, not ${capability.fsType}`
}

export function conditionOf(store: Store, record: VolumeRecord): { abnormal: boolean; message: string } {
  const isThere = existsSync(store.pathOf('volumes', record))
  return { abnormal: !isThere, message: isThere ? 'the data are there' : 'the data of the volume are gone' }
}

interface Source {
  content: Content
  path: string
  volume?: VolumeRecord
}

/** @throws CsiError NOT_FOUND */
function sourceOf(store: Store, { kind, id }: ContentSource): Source {
  if (kind === 'volume') {
    const volume = volumeOf(store.records, id)
    return { content: volume, path: store.pathOf('volumes', volume), volume }
  }
  const snapshot = store.records.current.snapshots.get(id)
  if (!snapshot || snapshot.isDeleting) throw new CsiError('NOT_FOUND', `snapshot ${id} does not exist`)
  return { content: snapshot, path: store.pathOf('snapshots', snapshot) }
}

async function withFreeze({ path, volume }: Source): Promise<{ path: string; frozenAt?: string }> {
  const frozenAt = volume && (await frozenPath(volume))
  return frozenAt === undefined ? { path } : { path, frozenAt }
}

async function freeBytes({ records }: Store, settings: Settings, kind: string): Promise<number> {
  const capacity = settings.capacity[kind]
  if (capacity !== undefined) return Math.max(0, capacity - usedBytes(records.current, kind))
  if (Object.keys(settings.capacity).length > 0) return 0
  const { bavail, bsize } = await statfs(settings.stateDir)
  return bavail * bsize
}

async function expand(
  store: Store,
  settings: Settings,
  volumeId: string,
  range: { requiredBytes: number; limitBytes?: number },
): Promise<{ capacityBytes: number; nodeExpansionRequired: boolean }> {
  const { backing, isBlock, kind, sizeBytes: now, ...record } = volumeOf(store.records, volumeId)
  const isImage = backing === 'image'
  const sizeBytes = sizeOf(range, settings.maxVolumeSize, { least: now, step: isImage ? 4096 : 1, usual: now })
  if (sizeBytes > now) {
    refuseOverCapacity(store.records.current, settings, kind, sizeBytes - now)
    // A larger image with the old size in the record is what a kill here leaves: it is asked for again.
    const content = { backing, isBlock, sizeBytes, ...record }
    if (isImage) await truncate(store.pathOf('volumes', content), sizeBytes)
    else store.limit(content)
    await store.records.change((state) => {
      const found = state.volumes.get(volumeId)
      if (!found) throw new CsiError('NOT_FOUND', `volume ${volumeId} does not exist`)
      refuseOverCapacity(state, settings, kind, sizeBytes - found.sizeBytes)
      Object.assign(found, { sizeBytes, grows: isImage && !isBlock })
    })
  }
  return { capacityBytes: sizeBytes, nodeExpansionRequired: isImage }
}

/** Attaching does nothing to a volume of this machine, but keeps the rules that clusters rely on. */
function attachFunctions(
  store: Store,
  settings: Settings,
): Pick<ControllerFunctions, 'publish' | 'unpublish' | 'publishesReadOnly' | 'listsPublishedNodes'> {
  if (!settings.enableAttach) return {}
  const { records } = store
  const refuseOtherNode = (nodeId: string): void => {
    if (nodeId !== settings.nodeId) throw new CsiError('NOT_FOUND', `node ${nodeId} is not ${settings.nodeId}`)
  }
  return {
    publishesReadOnly: true,
    listsPublishedNodes: true,
    publish: async ({ volumeId, nodeId, capability, readOnly }) => {
      refuseOtherNode(nodeId)
      const against = whyNot(volumeOf(records, volumeId), capability)
      if (against !== undefined) throw new CsiError('INVALID_ARGUMENT', against)
      await records.change((state) => {
        const record = volumeOf({ current: state }, volumeId)
        if (record.attached && record.attached.readOnly !== readOnly) {
          throw new CsiError(
            'ALREADY_EXISTS',
            `volume ${volumeId} is attached ${readOnly ? 'for writing' : 'read-only'}`,
          )
        }
        const count = [...state.volumes.values()].filter(({ attached }) => attached).length
        if (!record.attached && settings.attachLimit > 0 && count >= settings.attachLimit) {
          throw new CsiError('RESOURCE_EXHAUSTED', `${count} volumes are attached, as many as may be`)
        }
        record.attached = { readOnly }
      })
      return {}
    },
    unpublish: async ({ volumeId, nodeId = settings.nodeId }) => {
      if (nodeId !== settings.nodeId || !records.current.volumes.get(volumeId)?.attached) return
      if (await isInUse(store, volumeOf(records, volumeId))) {
        throw new CsiError('INTERNAL', `volume ${volumeId} is still in use on node ${nodeId}`)
      }
      await records.change((state) => {
        delete state.volumes.get(volumeId)?.attached
      })
    },
  }
}
