// Volumes staged and published on this machine. What is in use is written down before it is mounted, so that a kill leaves
// nothing that is not known.
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { attachLoop, detachLoop, loopsOfFile, mountSlowly, resizeLoop } from '@nodelet/linux'
import { CsiError } from '../sdk/errors.ts'
import { ensureMounted, ensureTarget, ensureUnmounted, isMounted, removeTarget } from '../sdk/mounting.ts'
import type { Call, NodeFunctions, PublishRequest, StageRequest, VolumeUsage } from '../sdk/types.ts'
import { usageOf } from '../sdk/usage.ts'
import { conditionOf, whyNot } from './controller.ts'
import { isEphemeral, makeEphemeral } from './ephemeral.ts'
import { type Settings, topologyKey } from './options.ts'
import { grow, growUnmounted } from './programs.ts'
import type { VolumeRecord } from './records.ts'
import type { Store } from './store.ts'
import { volumeOf } from './volume.ts'

export function nodeFunctions(store: Store, settings: Settings): NodeFunctions {
  const { records } = store
  const change = async (volumeId: string, work: (record: VolumeRecord) => void): Promise<VolumeRecord> =>
    records.change((state) => {
      const record = volumeOf({ current: state }, volumeId)
      work(record)
      return record
    })
  return {
    info: () => ({
      nodeId: settings.nodeId,
      maxVolumes: settings.attachLimit || settings.maxVolumesPerNode,
      ...(settings.enableTopology && { topology: { [topologyKey]: settings.nodeId } }),
    }),
    multiWriter: true,
    reportsCondition: true,

    stage: async (request, call) => {
      const { volumeId, stagingPath, capability } = request
      const before = volumeOf(records, volumeId)
      refuseUnfit(before, capability)
      if (settings.enableAttach && !before.attached) {
        throw new CsiError('FAILED_PRECONDITION', `volume ${volumeId} is not attached to node ${settings.nodeId}`)
      }
      if (conditionOf(store, before).abnormal) throw new CsiError('INTERNAL', `the data of volume ${volumeId} are gone`)
      await refuseOtherStage(before, stagingPath)
      const record = await change(volumeId, (each) => {
        each.stagingPath = stagingPath
      })
      await mountStaged(store, record, request)
      if (record.grows) await fillImage(store, record, call)
    },

    unstage: async ({ volumeId, stagingPath }) => {
      // One that was deleted meanwhile is staged nowhere.
      if (!records.current.volumes.has(volumeId) && !(await isMounted(stagingPath))) return
      const record = volumeOf(records, volumeId)
      // What is there otherwise is another's.
      if (record.stagingPath !== stagingPath) return
      for (const { targetPath } of record.published) {
        if (!(await isMounted(targetPath))) continue
        throw new CsiError('FAILED_PRECONDITION', `volume ${volumeId} is still published at ${targetPath}`)
      }
      await ensureUnmounted(stagingPath)
      if (record.isBlock) loopsOfFile(store.pathOf('volumes', record)).forEach(detachLoop)
      await change(volumeId, (each) => {
        delete each.stagingPath
      })
    },

    publish: async (request, { signal }) => {
      const { volumeId, stagingPath, targetPath, capability, readOnly } = request
      if (isEphemeral(request)) await makeEphemeral(store, settings, request, signal)
      const found = volumeOf(records, volumeId)
      refuseUnfit(found, capability)
      if (!found.isEphemeral) await refuseUnstaged(store, found, stagingPath)
      const places = await mountedOf(found)
      const record = await change(volumeId, (each) => {
        each.published = each.published.filter((one) => places.has(one.targetPath) || one.targetPath === targetPath)
        publishAt(each, { targetPath, readOnly, capability })
      })
      await mountPublished(store, record, request)
    },

    unpublish: async ({ volumeId, targetPath }) => {
      const record = records.current.volumes.get(volumeId)
      const isPublished = record?.published.some((each) => each.targetPath === targetPath)
      if (!record || !isPublished) {
        const isOver = record !== undefined || ephemeralId.test(volumeId)
        if (!isOver || (await isMounted(targetPath)))
          throw new CsiError('NOT_FOUND', `${targetPath}: no volume ${volumeId} of this driver is published there`)
        // It was made, and its publish killed.
        if (record?.isEphemeral && record.published.length === 0) await store.remove('volumes', volumeId)
        return
      }
      const device = record.isBlock ? await readOnlyLoopAt(store, record, targetPath) : undefined
      await removeTarget(targetPath)
      if (device !== undefined) detachLoop(device)
      if (record.isEphemeral) return store.remove('volumes', volumeId)
      await change(volumeId, (each) => {
        each.published = each.published.filter((one) => one.targetPath !== targetPath)
      })
    },

    stats: async ({ volumeId, volumePath }) => {
      const record = usedAt(volumeOf(records, volumeId), volumePath)
      return { usage: await usage(record, volumePath), condition: conditionOf(store, record) }
    },

    expand: async ({ volumeId, volumePath, range }, call) => {
      const record = usedAt(volumeOf(records, volumeId), volumePath)
      if (range.requiredBytes > record.sizeBytes) {
        throw new CsiError(
          'OUT_OF_RANGE',
          `volume ${volumeId} has ${record.sizeBytes} bytes: the controller expands it first`,
        )
      }
      if (record.backing === 'image') await fillImage(store, record, call)
      return { capacityBytes: record.sizeBytes }
    },
  }
}

/** As the kubelet names inline volumes: one that is not known has gone with its pod. */
const ephemeralId = /^csi-[0-9a-f]{64}$/

function refuseUnfit(record: VolumeRecord, capability: StageRequest['capability']): void {
  const against = whyNot(record, capability)
  if (against !== undefined) throw new CsiError('INVALID_ARGUMENT', against)
}

/** A place that a restart of the machine took away stands in nobody's way. */
async function refuseOtherStage({ id, stagingPath }: VolumeRecord, wanted: string): Promise<void> {
  if (stagingPath === undefined || stagingPath === wanted || !(await isMounted(stagingPath))) return
  throw new CsiError('FAILED_PRECONDITION', `volume ${id} is staged at ${stagingPath}`)
}

/** What is not mounted at its staging path would have the pod write to the machine's own disk. */
async function refuseUnstaged(store: Store, record: VolumeRecord, stagingPath: string | undefined): Promise<void> {
  const { id, isBlock } = record
  if (stagingPath === undefined) throw new CsiError('INVALID_ARGUMENT', 'staging_target_path is missing')
  if (record.stagingPath === undefined) throw new CsiError('FAILED_PRECONDITION', `volume ${id} is not staged`)
  if (record.stagingPath !== stagingPath) {
    throw new CsiError(
      'INVALID_ARGUMENT',
      `staging_target_path ${stagingPath}: volume ${id} is staged at ${record.stagingPath}`,
    )
  }
  const isThere = isBlock ? writableLoop(store, record) !== undefined : await isMounted(stagingPath)
  if (!isThere) throw new CsiError('FAILED_PRECONDITION', `volume ${id} is not staged any more`)
}

/** Where it is published indeed: what a restart of the machine took away stands in nobody's way. */
async function mountedOf({ published }: VolumeRecord): Promise<Set<string>> {
  const found = await Promise.all(published.map(async ({ targetPath }) => isMounted(targetPath)))
  return new Set(published.filter((_, at) => found[at]).map(({ targetPath }) => targetPath))
}

function publishAt(
  record: VolumeRecord,
  { targetPath, readOnly, capability }: Pick<PublishRequest, 'targetPath' | 'readOnly' | 'capability'>,
): void {
  const isExclusive = !/^MULTI_NODE_|^SINGLE_NODE_MULTI_WRITER$/.test(capability.accessMode)
  const same = record.published.find((each) => each.targetPath === targetPath)
  if (same) {
    if (same.readOnly === readOnly) return
    throw new CsiError(
      'ALREADY_EXISTS',
      `${targetPath}: it is published ${same.readOnly ? 'read-only' : 'for writing'}`,
    )
  }
  const other = record.published.find((each) => isExclusive || each.isExclusive)
  if (other)
    throw new CsiError('FAILED_PRECONDITION', `volume ${record.id} is published at ${other.targetPath}, for one writer`)
  record.published.push({ targetPath, readOnly, isExclusive })
}

async function mountStaged(
  store: Store,
  record: VolumeRecord,
  { stagingPath, capability }: StageRequest,
): Promise<void> {
  const source = store.pathOf('volumes', record)
  if (record.isBlock) {
    if (writableLoop(store, record) === undefined) attachLoop(source)
    return
  }
  const options = capability.kind === 'mount' ? [...capability.mountFlags] : []
  if (record.backing === 'folder') {
    await ensureMounted({ source, target: stagingPath, options })
  } else if (!(await isMounted(stagingPath))) {
    // The mount keeps the device, which goes with it.
    using own = attachLoop(source, { autoClear: true })
    // A killed driver may have left a program at work on another one, which keeps it to itself.
    const device = loops(store, record).find(({ path, readOnly }) => path !== own.path && !readOnly) ?? own
    if (record.grows && record.fsType === 'ext4') await growUnmounted(device.path, record.sizeBytes)
    // A copy of a volume has its UUID, which xfs refuses to mount twice.
    const ofType = record.fsType === 'xfs' ? ['nouuid'] : []
    await mountSlowly({
      source: device.path,
      target: stagingPath,
      type: record.fsType,
      options: [...options, ...ofType],
    })
  }
}

/** @throws CsiError when another thing is mounted there; LinuxError */
async function mountPublished(store: Store, record: VolumeRecord, request: PublishRequest): Promise<void> {
  const { targetPath: target, readOnly, capability } = request
  await ensureTarget(target, record.isBlock ? 'file' : 'folder')
  if (record.isBlock) {
    if (await isMounted(target)) return
    // A bind that is read-only does not keep anyone from writing to the device behind it.
    const source = readOnly
      ? attachLoop(store.pathOf('volumes', record), { readOnly }).path
      : writableLoop(store, record)
    if (source === undefined) throw new CsiError('FAILED_PRECONDITION', `volume ${record.id} is not staged any more`)
    await ensureMounted({ source, target })
    return
  }
  const source = record.isEphemeral ? store.pathOf('volumes', record) : (record.stagingPath ?? '')
  const options = capability.kind === 'mount' ? [...capability.mountFlags] : []
  await ensureMounted({ source, target, readOnly, options })
}

/** The devices of an image, and which of them only read. */
function loops(store: Store, record: VolumeRecord): { path: string; readOnly: boolean }[] {
  return loopsOfFile(store.pathOf('volumes', record)).map((path) => ({
    path,
    readOnly: readFileSync(`/sys/block/${basename(path)}/ro`, 'utf8').startsWith('1'),
  }))
}

const writableLoop = (store: Store, record: VolumeRecord): string | undefined =>
  loops(store, record).find(({ readOnly }) => !readOnly)?.path

/** The device that was made for a target that only reads. */
async function readOnlyLoopAt(store: Store, record: VolumeRecord, target: string): Promise<string | undefined> {
  const own = loops(store, record).filter(({ readOnly }) => readOnly)
  const numbers = await Promise.all([target, ...own.map(({ path }) => path)].map(deviceNumber))
  return numbers[0] === undefined ? undefined : own.find((_each, at) => numbers[at + 1] === numbers[0])?.path
}

const deviceNumber = async (path: string): Promise<number | undefined> => {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
  return found?.isBlockDevice() ? found.rdev : undefined
}

/** Has the devices, and what is mounted of them, be as large as the image. */
async function fillImage(store: Store, record: VolumeRecord, { signal }: Call): Promise<void> {
  const [device] = loops(store, record).map(({ path }) => (resizeLoop(path), path))
  if (record.isBlock || device === undefined || record.stagingPath === undefined) return
  await grow(record.fsType, device, record.stagingPath, signal)
  await store.records.change(({ volumes }) => {
    const found = volumes.get(record.id)
    if (found && found.sizeBytes === record.sizeBytes) found.grows = false
  })
}

/** @throws CsiError NOT_FOUND when the path is none of the volume's */
function usedAt(record: VolumeRecord, path: string): VolumeRecord {
  if (record.stagingPath === path || record.published.some(({ targetPath }) => targetPath === path)) return record
  throw new CsiError('NOT_FOUND', `volume ${record.id} is not in use at ${path}`)
}

const usage = async (record: VolumeRecord, path: string): Promise<VolumeUsage[]> =>
  record.isBlock ? [{ unit: 'BYTES', total: record.sizeBytes, available: 0, used: record.sizeBytes }] : usageOf(path)
