// Many pods at once, and a driver that does not answer: real mounts, real drivers on sockets.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createCsiDrivers, createCsiVolumes, type CsiDrivers } from '@nodelet/csi-node'
import { createDriver, ensureMounted, ensureTarget, removeTarget, type ServingDriver } from '@nodelet/csi-node/sdk'
import { readMountInfo, unmount } from '@nodelet/linux'
import type { Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { tmpfs } from '../../../examples/csi-tmpfs/tmpfs.ts'
import { silentLogger } from '../src/log.ts'
import { createAttachments } from '../src/storage/attach.ts'
import { createVolumeExpander } from '../src/storage/expander.ts'
import { createVolumeMeter } from '../src/storage/meter.ts'
import { noStorageObjects } from '../src/storage/objects.ts'
import { systemClock } from '../src/clock.ts'
import type { VolumeManager } from '../src/volume/types.ts'
import { newWorld, podWith, type World } from './volume-world.ts'

const hanging = 'hanging.example.com'
let world: World
let undo: AsyncDisposableStack
/** Lets the driver that hangs answer. */
let answer: () => void
/** What it was asked. */
let asked: string[]
/** Ends when it may answer. */
let answered: Promise<void>
/** Those of all managers of a test. */
let drivers: CsiDrivers | undefined

beforeEach(() => {
  world = newWorld()
  undo = new AsyncDisposableStack()
  undo.defer(async () => world.end())
  asked = []
  drivers = undefined
})
afterEach(async () => {
  answer?.()
  await undo.disposeAsync()
})

async function serve(drivers: CsiDrivers, driver: { name: string; serve: typeof tmpfs.serve }): Promise<void> {
  const endpoint = join(world.rootDir, `${driver.name}.sock`)
  const served: ServingDriver = await driver.serve({ endpoint, register: false, graceMs: 100 })
  undo.defer(async () => served.close())
  await drivers.register({ name: driver.name, endpoint, versions: ['1.11.0'] }, AbortSignal.timeout(10_000))
}

async function openDrivers(timeoutMs: number): Promise<CsiDrivers> {
  const opened = createCsiDrivers({ timeoutMs })
  const hangs = createDriver({
    name: hanging,
    version: '1.0.0',
    node: {
      info: () => ({ nodeId: 'node' }),
      async publish({ volumeId, targetPath }) {
        asked.push(volumeId)
        await answered
        await ensureTarget(targetPath, 'folder')
        await ensureMounted({ source: 'stuck', target: targetPath, type: 'tmpfs' })
      },
      async unpublish({ targetPath }) {
        asked.push('unpublish')
        await answered
        await removeTarget(targetPath)
      },
    },
  })
  await serve(opened, hangs)
  await serve(opened, tmpfs)
  return opened
}

/** @param timeoutMs that a driver has for an answer */
async function openManager(timeoutMs = 120_000): Promise<VolumeManager> {
  ;({ promise: answered, resolve: answer } = Promise.withResolvers<void>())
  drivers ??= await openDrivers(timeoutMs)
  const { rootDir } = world
  const unasked = async (): Promise<never> => {
    throw new Error('no driver here asks for it')
  }
  const csi = await createCsiVolumes({
    rootDir,
    nodeName: 'node',
    drivers,
    objects: { secret: unasked, token: unasked },
  })
  undo.defer(async () => csi.close())
  const objects = {
    ...noStorageObjects,
    driver: async (name: string) => ({ metadata: { name }, spec: { volumeLifecycleModes: ['Ephemeral'] } }),
  }
  const node = (): undefined => undefined
  const attachments = createAttachments({
    nodeName: 'node',
    objects,
    node,
    inUse: () => csi.inUse(),
    changed: () => {},
    clock: systemClock,
  })
  const tell = (): void => {}
  const quiet = { tell, clock: systemClock, log: silentLogger }
  const meter = createVolumeMeter({ ...quiet, periodMs: 0, tellsHealth: false, measured: () => {} })
  undo.defer(() => meter.close())
  const expander = createVolumeExpander({
    ...quiet,
    nodeName: 'node',
    objects,
    csi,
    tellClaim: () => {},
    worked: () => {},
    periodMs: 60_000,
  })
  undo.defer(async () => expander.close())
  return world.newManager({
    storage: { objects, csi, attachments, isAttachedByController: false, meter, expander, node, tell, clock: Date },
  })
}

const podOf = (uid: string, volumes: readonly Volume[]): Pod => {
  const pod = podWith(volumes)
  return { ...pod, metadata: { ...pod.metadata, name: uid, uid } }
}
const stuckPod = (uid: string, ...more: Volume[]): Pod =>
  podOf(uid, [{ name: 'stuck', csi: { driver: hanging } }, ...more])
/** One volume of each sort that is mounted or written. */
const fullPod = (uid: string): Pod =>
  podOf(uid, [
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '64Ki' } },
    { name: 'config', configMap: { name: `config-${uid}` } },
    { name: 'secret', secret: { secretName: `secret-${uid}` } },
    {
      name: 'all',
      projected: {
        sources: [
          { serviceAccountToken: { path: 'token', audience: uid } },
          { downwardAPI: { items: [{ path: 'uid', fieldRef: { fieldPath: 'metadata.uid' } }] } },
        ],
      },
    },
    { name: 'csi', csi: { driver: tmpfs.name, volumeAttributes: { size: '64k' } } },
  ])
const inMemory = ['empty-dir/memory', 'secret/secret', 'projected/all', 'csi/csi/mount']

function addObjects(uid: string): void {
  world.configMaps.set(`config-${uid}`, { data: { key: `config of ${uid}` } })
  world.secrets.set(`secret-${uid}`, { data: { key: Buffer.from(`secret of ${uid}`).toString('base64') } })
}
/** All that the kernel knows of the folder, wherever it is mounted. */
const known = async (): Promise<string[]> =>
  (await readMountInfo()).map((mount) => JSON.stringify(mount)).filter((line) => line.includes(world.rootDir))
const uids = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`)
const folderOf = (uid: string): string => join(world.rootDir, 'pods', uid, 'volumes')

test('fifty pods with five volumes each, at once: all are mounted, each has its own, and nothing stays', async () => {
  const manager = await openManager()
  const before = await known()
  const all = uids('pod', 50)
  for (const uid of all) addObjects(uid)
  const mounted = await Promise.all(all.map(async (uid) => manager.mount(fullPod(uid))))
  expect(mounted.map(({ size }) => size)).toEqual(all.map(() => 5))
  const wanted = all.flatMap((uid) => inMemory.map((path) => join(folderOf(uid), `kubernetes.io~${path}`)))
  expect((await world.mountsBelow()).toSorted()).toEqual(wanted.toSorted())
  for (const [index, paths] of mounted.entries()) {
    const uid = all[index] ?? ''
    const read = (volume: string, file: string): string => readFileSync(join(paths.get(volume) ?? '', file), 'utf8')
    const texts = [read('config', 'key'), read('secret', 'key'), read('all', 'uid')]
    expect(texts).toEqual([`config of ${uid}`, `secret of ${uid}`, uid])
    expect(read('all', 'token')).toMatch(/^n\/sa #\d+$/)
  }
  expect(world.tokensGiven.map(({ bound = '' }) => bound).toSorted()).toEqual(all.toSorted())
  await Promise.all(all.map(async (uid) => manager.unmount(uid)))
  expect([before, await known()]).toEqual([[], []])
})

test('a driver that hangs keeps nobody else: others mount, change and go meanwhile', async () => {
  const manager = await openManager()
  const stuck = uids('stuck', 10)
  let settled = 0
  const waiting = stuck.map(async (uid) => manager.mount(stuckPod(uid)).finally(() => (settled += 1)))
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBe(stuck.length)
  const others = uids('other', 10)
  for (const uid of others) addObjects(uid)
  const mounted = await Promise.all(others.map(async (uid) => manager.mount(fullPod(uid))))
  world.configMaps.set('config-other-3', { data: { key: 'changed' } })
  world.changed('ConfigMap', 'config-other-3')
  const shown = (): string => readFileSync(join(mounted[3]?.get('config') ?? '', 'key'), 'utf8')
  await expect.poll(shown, { timeout: 30_000 }).toBe('changed')
  await Promise.all(others.map(async (uid) => manager.unmount(uid)))
  expect([settled, await known()]).toEqual([0, []])
  answer()
  expect((await Promise.all(waiting)).map(({ size }) => size)).toEqual(stuck.map(() => 1))
  await Promise.all(stuck.map(async (uid) => manager.unmount(uid)))
})

test('what else a pod lacks is told while a driver of it hangs', async () => {
  const manager = await openManager()
  const pod = stuckPod('stuck', { name: 'config', configMap: { name: 'none' } })
  const refused = expect.objectContaining({
    message: 'MountVolume.SetUp failed for volume "config" : configmap "none" not found',
    volume: 'config',
  }) as Error
  await expect(manager.mount(pod)).rejects.toEqual(refused)
  await expect(manager.mount(pod)).rejects.toEqual(refused)
  world.configMaps.set('none', { data: {} })
  const waiting = manager.mount(pod)
  answer()
  expect((await waiting).size).toBe(2)
  expect(asked).toHaveLength(1)
  await manager.unmount('stuck')
})

test('a pod that comes back while what was left of it is taken away waits for that, and then has all its volumes', async () => {
  const pod = stuckPod('stuck', { name: 'disk', emptyDir: {} }, { name: 'memory', emptyDir: { medium: 'Memory' } })
  const before = await openManager()
  answer()
  await before.mount(pod)
  // A kubelet that starts again, and knows of no such pod yet.
  const manager = await openManager()
  const removing = manager.removeOrphans(() => false)
  await expect.poll(() => asked, { timeout: 30_000 }).toContain('unpublish')
  let isMounted = false
  const mounting = manager.mount(pod).finally(() => (isMounted = true))
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(isMounted).toBe(false)
  answer()
  await removing
  const paths = await mounting
  for (const path of paths.values()) writeFileSync(join(path, 'mine'), '')
  expect(await world.mountsBelow()).toEqual([paths.get('memory'), paths.get('stuck')])
  expect([...paths.values()].map((path) => existsSync(join(path, 'mine')))).toEqual([true, true, true])
  await manager.unmount('stuck')
  expect(await known()).toEqual([])
})

test('what a driver has for a pod whose folder is gone is taken back', async () => {
  const manager = await openManager()
  answer()
  const path = (await manager.mount(stuckPod('stuck'))).get('stuck') ?? ''
  unmount(path)
  rmSync(join(world.rootDir, 'pods/stuck'), { recursive: true })
  await manager.removeOrphans((uid) => uid === 'stuck')
  expect(asked).not.toContain('unpublish')
  await manager.removeOrphans(() => false)
  expect(asked.filter((one) => one === 'unpublish')).toHaveLength(1)
  await manager.removeOrphans(() => false)
  expect(asked.filter((one) => one === 'unpublish')).toHaveLength(1)
})

test('a pod whose driver does not answer in time is told so; it goes when it is deleted', async () => {
  const manager = await openManager(2_000)
  await expect(manager.mount(stuckPod('stuck'))).rejects.toMatchObject({
    message:
      'MountVolume.SetUp failed for volume "stuck" : rpc error: code = DeadlineExceeded desc = context deadline exceeded',
    reason: 'FailedMount',
  })
  answer()
  await manager.unmount('stuck')
  expect(await known()).toEqual([])
})
