// Block volumes: a file as a loop device, through a driver, to pods.
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attachLoop, detachLoop, loopsOf, readLoops, readMountInfo, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createCsiDrivers, createCsiVolumes, type CsiVolumes, forceUnmapBlock } from '../../src/index.ts'
import {
  createDriver,
  CsiError,
  ensureMounted,
  ensureTarget,
  removeTarget,
  type ServingDriver,
} from '../../src/sdk/index.ts'
import { disk, driverName, never, podOf } from './world.ts'

let base: string
let serving: ServingDriver
let volumes: CsiVolumes
let notStaged = false
/** A device in place of that of the file. */
let instead: string | undefined
let nowMs = 1_700_000_000_000
const calls: string[] = []
const file = (): string => join(base, 'disk')
const open = async (): Promise<CsiVolumes> => {
  const drivers = createCsiDrivers()
  await drivers.register({ name: driverName, endpoint: serving.socketPath, versions: ['1.0.0'] }, never)
  const no = async () => Promise.reject(new Error('there is none'))
  return createCsiVolumes({
    rootDir: join(base, 'root'),
    nodeName: 'node-1',
    drivers,
    objects: { secret: no, token: no },
    clock: { now: () => nowMs },
  })
}
beforeEach(async () => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'csi-')))
  writeFileSync(file(), Buffer.alloc(1 << 20, 7))
  calls.length = 0
  instead = undefined
  const driver = createDriver({
    name: driverName,
    version: '1.0.0',
    node: {
      info: () => ({ nodeId: 'n' }),
      stage({ capability, stagingPath }) {
        calls.push(`stage ${capability.kind} ${stagingPath.slice(base.length)}`)
        if (loopsOf(file()).length === 0) attachLoop(file())
      },
      unstage() {
        calls.push('unstage')
        for (const loop of loopsOf(file())) detachLoop(loop)
      },
      async publish({ targetPath }) {
        calls.push(`publish ${targetPath.slice(base.length)}`)
        if (notStaged) throw new CsiError('FAILED_PRECONDITION', 'not staged')
        await ensureTarget(targetPath, 'file')
        await ensureMounted({ source: instead ?? loopsOf(file())[0] ?? '', target: targetPath })
      },
      async unpublish({ targetPath }) {
        calls.push('unpublish')
        await removeTarget(targetPath)
      },
      expand: ({ volumePath }) => (calls.push(`expand ${volumePath.slice(base.length)}`), { capacityBytes: 2 << 20 }),
    },
  })
  serving = await driver.serve({ endpoint: join(base, 'csi.sock'), register: false })
  volumes = await open()
})
afterEach(async () => {
  await volumes.close()
  await serving.close()
  for (const { path, file } of readLoops()) if (file.startsWith(base)) detachLoop(path)
  for (const { mountPoint } of (await readMountInfo('self', { below: base })).toReversed()) {
    unmount(mountPoint, { detach: true })
  }
  rmSync(base, { recursive: true })
})

const block = disk({ volumeMode: 'Block' })
const plugin = 'root/plugins/kubernetes.io/csi/volumeDevices'
const at = (...path: string[]): string => join(base, ...path)
const firstByte = (path: string): number | undefined => readFileSync(path)[0]

test('a device for each pod, held while it is in use, and given back', async () => {
  const device = await volumes.setUp(block, podOf(), {}, never)
  expect(device).toBe(at(plugin, 'publish/pv-1/uid-1'))
  expect([statSync(device).isBlockDevice(), firstByte(device)]).toEqual([true, 7])
  expect(readlinkSync(at('root/pods/uid-1/volumeDevices/kubernetes.io~csi/pv-1'))).toBe(device)
  const held = at(plugin, 'pv-1/dev/uid-1')
  expect([statSync(held).isBlockDevice(), loopsOf(held).length]).toEqual([true, 1])
  expect(JSON.parse(readFileSync(at(plugin, 'pv-1/data/vol_data.json'), 'utf8'))).toMatchObject({
    specVolID: 'pv-1',
    volumeHandle: 'vol-1',
    driverName,
    nodeName: 'node-1',
  })
  await volumes.setUp(block, podOf('uid-2'), {}, never)
  await volumes.setUp(block, podOf(), {}, never)
  expect(volumes.inUse()).toEqual([`kubernetes.io/csi/${driverName}^vol-1`])
  expect(await volumes.expand({ volume: block, pod: podOf(), requiredBytes: 2 << 20 }, never)).toBe(2 << 20)
  await volumes.tearDown('uid-1')
  expect(existsSync(at('root/pods/uid-1/volumeDevices'))).toBe(false)
  await volumes.tearDown('uid-2')
  expect(calls).toEqual([
    `stage block /${plugin}/staging/pv-1`,
    `publish /${plugin}/publish/pv-1/uid-1`,
    `publish /${plugin}/publish/pv-1/uid-2`,
    `expand /${plugin}/publish/pv-1/uid-1`,
    'unpublish',
    'unpublish',
    'unstage',
  ])
  expect([await readMountInfo('self', { below: at('root') }), existsSync(at(plugin, 'pv-1'))]).toEqual([[], false])
  expect(readLoops().filter((loop) => loop.file.startsWith(base))).toEqual([])
  expect(readFileSync(file())).toEqual(Buffer.alloc(1 << 20, 7))
})

test('a new process knows the devices of the one before; in use by another they stay', async () => {
  const device = await volumes.setUp(block, podOf(), {}, never)
  await volumes.close()
  volumes = await open()
  expect(volumes.published()).toEqual([
    { driver: driverName, volumeHandle: 'vol-1', specName: 'pv-1', podUid: 'uid-1' },
  ])
  await volumes.tearDownUnused()
  expect(await volumes.setUp(block, podOf(), {}, never)).toBe(device)
  const busy = openSync(device, 'r')
  await volumes.tearDown('uid-1').catch(() => undefined)
  closeSync(busy)
  expect(readFileSync(file())[0]).toBe(7)
  await volumes.close()
  volumes = await open()
  await volumes.tearDown('uid-1')
  await volumes.tearDownUnused()
  expect([await readMountInfo('self', { below: at('root') }), existsSync(at(plugin, 'pv-1'))]).toEqual([[], false])
})

test('a volume whose record a crash left empty is known again by the next pod that wants it', async () => {
  for (const uid of ['uid-1', 'uid-2']) await volumes.setUp(block, podOf(uid), {}, never)
  await volumes.close()
  writeFileSync(at(plugin, 'pv-1/data/vol_data.json'), '')
  volumes = await open()
  expect(volumes.published()).toEqual([])
  await volumes.tearDownUnused()
  await volumes.setUp(block, podOf('uid-1'), {}, never)
  expect(volumes.published().map(({ podUid }) => podUid)).toEqual(['uid-1', 'uid-2'])
  for (const uid of ['uid-1', 'uid-2']) await volumes.tearDown(uid)
  expect([await readMountInfo('self', { below: at('root') }), existsSync(at(plugin, 'pv-1'))]).toEqual([[], false])
  expect(calls.at(-1)).toBe('unstage')
})

test('one that nobody wants any more is taken from its pod by force; what is in it stays', async () => {
  await volumes.setUp(block, podOf(), {}, never)
  await volumes.close()
  writeFileSync(at(plugin, 'pv-1/data/vol_data.json'), '')
  volumes = await open()
  await volumes.tearDown('uid-1')
  for (const _ of ['once', 'again']) await forceUnmapBlock(at('root'), 'uid-1', 'pv-1')
  expect(await readMountInfo('self', { below: at('root') })).toEqual([])
  expect(readLoops().filter((loop) => loop.file.startsWith(at('root')))).toEqual([])
  expect(existsSync(at('root/pods/uid-1/volumeDevices/kubernetes.io~csi/pv-1'))).toBe(false)
  expect(firstByte(file())).toBe(7)
})

test('a driver that says the volume is not staged has it staged; a link that was lost is made again', async () => {
  const device = await volumes.setUp(block, podOf(), {}, never)
  const link = at('root/pods/uid-1/volumeDevices/kubernetes.io~csi/pv-1')
  rmSync(link)
  expect(await volumes.setUp(block, podOf(), {}, never)).toBe(device)
  expect(readlinkSync(link)).toBe(device)
  calls.length = 0
  notStaged = true
  await expect(volumes.setUp(block, podOf('uid-2'), {}, never)).rejects.toThrow('not staged')
  notStaged = false
  nowMs += 200_000
  await volumes.setUp(block, podOf('uid-2'), {}, never)
  expect(calls.map((call) => call.split(' ')[0])).toEqual(['publish', 'stage', 'publish'])
})

test('a device that the driver has in place of another is held instead of it', async () => {
  const device = await volumes.setUp(block, podOf(), {}, never)
  const held = at(plugin, 'pv-1/dev/uid-1')
  const before = statSync(held).rdev
  await volumes.close()
  unmount(device)
  using other = attachLoop(at('disk'), { autoClear: true })
  instead = other.path
  volumes = await open()
  await volumes.setUp(block, podOf(), {}, never)
  expect(statSync(device).rdev).not.toBe(before)
  expect([statSync(held).rdev, loopsOf(held).length]).toEqual([statSync(device).rdev, 1])
})

test('a driver whose device is none is refused, and undone', async () => {
  await serving.close()
  const driver = createDriver({
    name: driverName,
    version: '1.0.0',
    node: {
      info: () => ({ nodeId: 'n' }),
      publish: async ({ targetPath }) => ensureTarget(targetPath, 'file'),
      unpublish: async ({ targetPath }) => removeTarget(targetPath),
    },
  })
  serving = await driver.serve({ endpoint: join(base, 'csi.sock'), register: false })
  volumes = await open()
  await expect(volumes.setUp(block, podOf(), {}, never)).rejects.toThrow(
    `MapVolume.MapPodDevice failed for volume "pv-1" : ${at(plugin, 'publish/pv-1/uid-1')} is not a block device`,
  )
  await volumes.tearDown('uid-1')
  expect(existsSync(at(plugin, 'pv-1'))).toBe(false)
})
