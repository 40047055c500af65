// The CSI volumes of a node's pods: staged, published, taken back. One piece of work at a time per volume.
import { mkdir, realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { VolumeStats } from '../driver/answers.ts'
import { type Logger, silentLogger } from '../log.ts'
import { createBackOffs, TooEarlyError } from './back-off.ts'
import { mapBlock, tearDownBlock, unmapBlock } from './block.ts'
import { checkLifecycle } from './context.ts'
import { type Expansion, expandVolume, volumeStats } from './expand.ts'
import { blockLink, blockPaths, publishPaths, stagingPaths, uniqueVolumeName } from './names.ts'
import { publishVolume, unpublishVolume } from './publish.ts'
import { loadRecords, publicationKey, volumeKey } from './records.ts'
import { stageVolume, unstageVolume } from './stage.ts'
import { createTurns } from './turns.ts'
import type { CsiPod, CsiVolume, SetUpOptions } from './types.ts'
import { counted, CsiVolumeError, driverOf, during, type VolumeContext } from './work.ts'

export interface CsiVolumesOptions extends Pick<VolumeContext, 'drivers' | 'objects' | 'nodeName'> {
  /** The kubelet's folder, usually `/var/lib/kubelet`; made when missing. Needs root. */
  rootDir: string
  /** Told when many files get another group, which takes long. */
  ownershipProgress?: VolumeContext['ownershipProgress']
  /** Told of work that has ended, for `storage_operation_duration_seconds`. */
  worked?: VolumeContext['worked']
  clock?: { now(): number }
  log?: Logger
}

/** A volume that the disk knows. */
export interface KnownVolume {
  readonly driver: string
  readonly volumeHandle: string
  readonly specName: string
  readonly podUid: string
}

/** Each function may be called again, and after a kill at any step. */
export interface CsiVolumes {
  /**
   * Stages and publishes a volume for a pod. While the signal only ends the waiting, what the driver was asked goes on.
   * @returns its path, or its device
   * @throws CsiVolumeError; the signal's reason
   */
  setUp(volume: CsiVolume, pod: CsiPod, options: SetUpOptions, signal: AbortSignal): Promise<string>
  /**
   * Unpublishes what a pod has, and unstages what no other pod has. Nothing is ever deleted from a volume.
   * @throws CsiVolumeError, or an AggregateError of them: what is left stays known
   */
  tearDown(podUid: string): Promise<void>
  /** Unstages what no pod has: what was left by a kill. Call it once all pods are known. @throws as tearDown */
  tearDownUnused(): Promise<void>
  /** What may be published, pod by pod: also what was there before this process. */
  published(): KnownVolume[]
  /** Volumes that are or may be in use, as node.status.volumesInUse names them. */
  inUse(): string[]
  /** Where a block volume's devices are bound, and the folder of the pod that links to its own: as events name them. */
  mapPaths(podUid: string, specName: string): { globalMapPath: string; volumeMapPath: string }
  /** Undefined: nothing can be known. Asked again while one call goes on, the same answer comes. @throws CsiError */
  stats(podUid: string, specName: string, signal: AbortSignal): Promise<VolumeStats | undefined>
  /** Whether a driver has EXPAND_VOLUME. @throws CsiError */
  expands(driver: string, signal: AbortSignal): Promise<boolean>
  /** NodeExpandVolume. @returns bytes; undefined: the driver has no EXPAND_VOLUME @throws CsiVolumeError */
  expand(expansion: Expansion, signal: AbortSignal): Promise<number | undefined>
  /** A driver has come: what failed for want of it need not wait. */
  driverCame(name: string): void
  /** Ends calls under way, and waits for the work that they are of. Volumes can still be taken back afterwards. */
  close(): Promise<void>
}

/** Reads what is staged and published from the disk. @throws Error when that cannot be read */
export async function createCsiVolumes(options: CsiVolumesOptions): Promise<CsiVolumes> {
  const { log = silentLogger, clock = Date } = options
  await mkdir(options.rootDir, { recursive: true, mode: 0o750 })
  const rootDir = await realpath(options.rootDir)
  const records = await loadRecords(rootDir, log)
  const context: VolumeContext = {
    rootDir,
    nodeName: options.nodeName,
    drivers: options.drivers,
    objects: options.objects,
    records,
    ownershipProgress: options.ownershipProgress ?? (() => {}),
    worked: options.worked ?? (() => {}),
    log,
  }
  const turns = createTurns()
  const backOffs = createBackOffs(clock)
  let closing = new AbortController()
  /** What pods have wanted of this process: set up or not. */
  const wanted = new Map<string, Map<string, { driver: string; volumeHandle: string }>>()
  const asking = new Map<string, Promise<VolumeStats | undefined>>()

  /** @param name of the work, which begins with the driver's */
  const attempt = async <T>(name: string, operation: string, specName: string, work: () => Promise<T>): Promise<T> => {
    try {
      backOffs.check(name)
    } catch (error) {
      throw new CsiVolumeError(operation, specName, error, error instanceof TooEarlyError)
    }
    try {
      const result = await during(operation, specName, work)
      backOffs.forget(name)
      return result
    } catch (error) {
      if (!closing.signal.aborted) {
        const why = backOffs.failed(name, error instanceof Error ? (error.cause ?? error) : error)
        log.warn({ operation, volume: specName }, `Operation for ${JSON.stringify(name)} failed. ${why}`)
      }
      throw error
    }
  }

  const setUpFiles = async (volume: CsiVolume, pod: CsiPod, options: SetUpOptions): Promise<string> => {
    const { specName } = volume
    const { signal } = closing
    const isInline = volume.lifecycle === 'Ephemeral'
    const staging = isInline ? 'MountVolume.SetUp' : 'MountVolume.MountDevice'
    const whom = isInline
      ? 'mounter.SetUpAt failed to get CSI client'
      : 'attacher.MountDevice failed to create newCsiDriverClient'
    const { work, staged } = await during(staging, specName, async () => {
      const driver = named(whom, () => driverOf(context, volume.driver))
      const capabilities = await driver.capabilities(signal)
      const work = { ...options, volume, pod, driver, capabilities }
      return { work, staged: isInline ? undefined : await stageVolume(context, work, signal) }
    })
    return during('MountVolume.SetUp', specName, async () => {
      named('mounter.SetUpAt failed to check volume lifecycle mode', () => checkLifecycle(volume, options.settings))
      return publishVolume(context, work, staged, signal)
    })
  }

  const setUpBlock = async (volume: CsiVolume, pod: CsiPod, options: SetUpOptions): Promise<string> => {
    const work = await during('MapVolume.SetUpDevice', volume.specName, async () => {
      const what = 'blockMapper.SetUpDevice failed to get CSI client'
      const driver = named(what, () => driverOf(context, volume.driver))
      return { ...options, volume, pod, driver, capabilities: await driver.capabilities(closing.signal) }
    })
    return mapBlock(context, work, closing.signal)
  }

  const isUsed = (key: string): boolean =>
    [...records.publications.values()].some((one) => volumeKey(one.driver, one.volumeHandle) === key) ||
    [...wanted.values()].some((volumes) =>
      volumes.values().some((one) => volumeKey(one.driver, one.volumeHandle) === key),
    )

  const unstage = async (driver: string, volumeHandle: string): Promise<void> => {
    const key = volumeKey(driver, volumeHandle)
    const work = async (): Promise<void> => unstageVolume(context, { driver, volumeHandle }, closing.signal)
    const isStaged = records.devices.has(key)
    await attempt(`${key} unstage`, 'UnmountDevice', volumeHandle, async () =>
      isStaged ? counted(context, { driver, operation: 'unmount_device' }, work) : work(),
    )
  }

  const unpublishAll = async (podUid: string, key: string): Promise<void> => {
    for (const one of records.publications.values()) {
      if (one.podUid !== podUid || volumeKey(one.driver, one.volumeHandle) !== key) continue
      await attempt(`${key} ${podUid} down`, 'UnmountVolume.TearDown', one.specName, async () =>
        unpublishVolume(context, one, closing.signal),
      )
    }
    for (const block of records.blocks.values()) {
      if (!block.pods.has(podUid) || volumeKey(block.driver, block.volumeHandle) !== key) continue
      await attempt(`${key} ${podUid} down`, 'UnmapVolume.UnmapPodDevice', block.specName, async () =>
        unmapBlock(context, block, podUid, closing.signal),
      )
    }
  }

  const unstageUnused = async (driver: string, volumeHandle: string): Promise<void> => {
    const key = volumeKey(driver, volumeHandle)
    if (isUsed(key)) return
    for (const block of records.blocks.values()) {
      if (block.pods.size > 0 || volumeKey(block.driver, block.volumeHandle) !== key) continue
      await attempt(`${key} unstage`, 'UnmapDevice', block.specName, async () =>
        counted(context, { driver, operation: 'unmap_device' }, async () =>
          tearDownBlock(context, block, closing.signal),
        ),
      )
    }
    await unstage(driver, volumeHandle)
  }

  const volumesOf = (podUid: string): Map<string, { driver: string; volumeHandle: string }> => {
    const found = new Map<string, { driver: string; volumeHandle: string }>()
    const add = (one: { driver: string; volumeHandle: string }): void =>
      void found.set(volumeKey(one.driver, one.volumeHandle), one)
    for (const one of records.publications.values()) if (one.podUid === podUid) add(one)
    for (const block of records.blocks.values()) if (block.pods.has(podUid)) add(block)
    for (const one of wanted.get(podUid)?.values() ?? []) add(one)
    return found
  }

  return {
    async setUp(volume, pod, options, signal) {
      signal.throwIfAborted()
      const { driver, volumeHandle, specName } = volume
      checkNames(rootDir, volume, pod)
      const key = volumeKey(driver, volumeHandle)
      const ofPod = wanted.get(pod.uid) ?? new Map<string, { driver: string; volumeHandle: string }>()
      wanted.set(pod.uid, ofPod.set(specName, { driver, volumeHandle }))
      const isBlock = volume.volumeMode === 'Block'
      const first = isBlock ? 'MapVolume.SetUpDevice' : 'MountVolume.SetUp'
      const work = turns.run(key, async () => {
        // Meanwhile the pod may have been taken away.
        closing.signal.throwIfAborted()
        signal.throwIfAborted()
        return attempt(`${key} ${pod.uid} up`, first, specName, async () =>
          isBlock ? setUpBlock(volume, pod, options) : setUpFiles(volume, pod, options),
        )
      })
      return unlessAborted(work, signal)
    },

    async tearDown(podUid) {
      const work = [...volumesOf(podUid)].map(async ([key, { driver, volumeHandle }]) =>
        turns.run(key, async () => {
          await unpublishAll(podUid, key)
          const ofPod = wanted.get(podUid)
          for (const [specName, one] of ofPod ?? []) {
            if (volumeKey(one.driver, one.volumeHandle) === key) ofPod?.delete(specName)
          }
          if (ofPod?.size === 0) wanted.delete(podUid)
          for (const what of ['up', 'expand']) backOffs.forget(`${key} ${podUid} ${what}`)
          await unstageUnused(driver, volumeHandle)
        }),
      )
      await all(work)
    },

    async tearDownUnused() {
      const left = [...records.devices.values(), ...records.blocks.values()]
      await all(
        left.map(async ({ driver, volumeHandle }) =>
          turns.run(volumeKey(driver, volumeHandle), async () => unstageUnused(driver, volumeHandle)),
        ),
      )
    },

    published: () => [
      ...[...records.publications.values()].map(({ driver, volumeHandle, specName, podUid }) => ({
        driver,
        volumeHandle,
        specName,
        podUid,
      })),
      ...[...records.blocks.values()].flatMap(({ driver, volumeHandle, specName, pods }) =>
        [...pods].map((podUid) => ({ driver, volumeHandle, specName, podUid })),
      ),
    ],

    inUse() {
      const all = [...records.devices.values(), ...records.blocks.values(), ...records.publications.values()]
      const persistent = all.filter((one) => !('lifecycle' in one) || one.lifecycle === 'Persistent')
      return [
        ...new Set(persistent.map(({ driver, volumeHandle }) => uniqueVolumeName(driver, volumeHandle))),
      ].toSorted()
    },

    mapPaths: (podUid, specName) => ({
      globalMapPath: blockPaths(rootDir, specName).devices,
      volumeMapPath: dirname(blockLink(rootDir, podUid, specName)),
    }),

    async stats(podUid, specName, signal) {
      const key = publicationKey(podUid, specName)
      const asked = asking.get(key) ?? volumeStats(context, podUid, specName, closing.signal)
      if (!asking.has(key)) {
        asking.set(key, asked)
        const forget = (): void => void asking.delete(key)
        asked.then(forget, forget)
      }
      return unlessAborted(asked, signal)
    },

    expands: async (driver, signal) => (await driverOf(context, driver).capabilities(signal)).expand,

    async expand(expansion, signal) {
      const { volume, pod } = expansion
      const key = volumeKey(volume.driver, volume.volumeHandle)
      const work = turns.run(key, async () =>
        attempt(`${key} ${pod.uid} expand`, 'MountVolume.NodeExpandVolume', volume.specName, async () =>
          expandVolume(context, expansion, closing.signal),
        ),
      )
      return unlessAborted(work, signal)
    },

    driverCame: (name) => backOffs.forgetAll((work) => work.startsWith(`${name}^`)),

    async close() {
      closing.abort(new Error('CSI volumes are closed'))
      await turns.idle()
      closing = new AbortController()
    },
  }
}

/** Before anything is remembered: what has no place on disk cannot be taken away either. @throws CsiVolumeError */
function checkNames(rootDir: string, { driver, volumeHandle, specName, volumeMode }: CsiVolume, { uid }: CsiPod): void {
  try {
    stagingPaths(rootDir, driver, volumeHandle)
    publishPaths(rootDir, uid, specName)
    blockPaths(rootDir, specName)
  } catch (error) {
    throw new CsiVolumeError(volumeMode === 'Block' ? 'MapVolume.SetUpDevice' : 'MountVolume.SetUp', specName, error)
  }
}

/** Names what could not be done in the words of the Go kubelet. */
function named<T>(what: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof Error) error.message = `kubernetes.io/csi: ${what}: ${error.message}`
    throw error
  }
}

/** The work goes on when the signal ends the wait for it. @throws the signal's reason */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined) // when nobody waits for it any more
  const { promise, reject } = Promise.withResolvers<never>()
  const end = (): void => reject(signal.reason)
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', end)
  }
}

/** All are tried. @throws the error, or all of them */
async function all(work: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
  if (errors.length === 1) throw errors[0]
  if (errors.length > 1) throw new AggregateError(errors, errors.map(({ message }) => message).join('; '))
}
