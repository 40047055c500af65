// Local volumes that are devices with files, on real loop devices.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attachLoop, mount, readMountInfo, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { NodeletEvent } from '../../src/events.ts'
import { silentLogger } from '../../src/log.ts'
import { DeviceMountError, foundOn, formatPlan, unknownData } from '../../src/storage/format.ts'
import { createNodeDisks, type NodeDisks } from '../../src/storage/node-disks.ts'
import { setUpLocal } from '../../src/storage/local.ts'
import type { LocalPlan } from '../../src/volume/plan.ts'
import { tearDownPod } from '../../src/volume/tear-down.ts'
import { localPlan } from './local-plan.ts'

test.each<[string, string, string | undefined]>([
  ['a file system', 'DEVNAME=/dev/loop0\nTYPE=ext4\n', 'ext4'],
  ['partitions', 'DEVNAME=/dev/loop0\nPTTYPE=dos\n', unknownData],
  ['both', 'TYPE=ext4\nPTTYPE=gpt\n', unknownData],
  ['a member of something larger', 'TYPE=LVM2_member\n', 'LVM2_member'],
  ['nothing', '', undefined],
])('blkid tells of %s', (_, output, found) => expect(foundOn(output)).toBe(found))

describe('what is done to a device', () => {
  const device = '/dev/x'
  const force = (type: string, ...words: string[]) => ({ program: `mkfs.${type}`, words: [...words, device] })
  test.each<[string | undefined, string, boolean, object]>([
    [undefined, '', false, { fsType: 'ext4', format: force('ext4', '-F', '-m0'), isChecked: false }],
    [undefined, 'ext3', false, { fsType: 'ext3', format: force('ext3', '-F', '-m0'), isChecked: false }],
    [undefined, 'xfs', false, { fsType: 'xfs', format: force('xfs', '-f'), isChecked: false }],
    [undefined, 'btrfs', false, { fsType: 'btrfs', format: force('btrfs'), isChecked: false }],
    ['xfs', '', false, { fsType: 'xfs', isChecked: true }],
    ['ext4', 'ext4', true, { fsType: 'ext4', isChecked: false }],
    ['ext4', 'xfs', false, { fsType: 'xfs', isChecked: true }],
    [unknownData, '', false, { fsType: 'ext4', isChecked: true }],
  ])('with %j, to be %j, read-only %j', (found, fsType, isReadOnly, plan) => {
    expect(formatPlan(found, { device, fsType, isReadOnly })).toEqual(plan)
  })
  test('a blank one cannot only be read, and what it is to be is a name', () => {
    expect(() => formatPlan(undefined, { device, fsType: '', isReadOnly: true })).toThrow(
      expect.objectContaining({
        kind: 'UnformattedReadOnly',
        message: 'cannot mount unformatted disk /dev/x as we are manipulating it in read-only mode',
      }),
    )
    expect(() => formatPlan(undefined, { device, fsType: '../../bin/rm', isReadOnly: false })).toThrow(DeviceMountError)
  })
})

let base: string
let rootDir: string
let disks: NodeDisks
let told: NodeletEvent[]
beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'local-disk-')))
  rootDir = join(base, 'root')
  mkdirSync(rootDir)
  disks = createNodeDisks(rootDir, silentLogger)
  told = []
})
afterEach(async () => {
  for (const { mountPoint } of (await readMountInfo('self', { below: base })).toReversed()) {
    unmount(mountPoint, { detach: true })
  }
  for (const loop of loops.splice(0)) loop[Symbol.dispose]()
  rmSync(base, { recursive: true })
})

const loops: Disposable[] = []
const image = (): string => join(base, 'image')
function newDevice(content?: (file: string) => void): string {
  writeFileSync(image(), '')
  truncateSync(image(), 8 << 20)
  content?.(image())
  const loop = attachLoop(image(), { autoClear: true })
  loops.push(loop)
  return loop.path
}
const ext4 = (file: string): void => void execFileSync('mkfs.ext4', ['-q', '-F', file])
const targetOf = (uid: string): string => join(rootDir, 'pods', uid, 'volumes/kubernetes.io~local-volume/pv')
const whole = (): string => join(rootDir, 'plugins/kubernetes.io/local-volume/mounts/pv')
const setUp = async (device: string, uid = 'one', more: Partial<LocalPlan> = {}, fsGroup?: number): Promise<string> =>
  setUpLocal(
    { ...localPlan, path: device, ...more },
    targetOf(uid),
    { spec: { containers: [], securityContext: { ...(fsGroup !== undefined && { fsGroup }) } } },
    { disks, tell: (event) => told.push(event), signal: undefined },
  )
async function tearDown(uid: string): Promise<void> {
  await tearDownPod(rootDir, uid)
  await disks.releaseUnused()
}
const mounts = async (): Promise<string[]> =>
  (await readMountInfo('self', { below: base })).map(({ mountPoint }) => mountPoint.slice(rootDir.length))
const failure = async (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  )

test('a blank device is formatted once, mounted once for all pods, and unmounted with the last; its files stay', async () => {
  const device = newDevice()
  writeFileSync(join(await setUp(device, 'one', {}, 4321), 'file'), 'kept')
  expect([statSync(whole()).gid, (statSync(whole()).mode & 0o7777).toString(8)]).toEqual([4321, '2775'])
  expect(readFileSync(join(await setUp(device, 'two', {}, 77), 'file'), 'utf8')).toBe('kept')
  expect(told.map(({ reason }) => reason)).toEqual(['AlreadyMountedVolume'])
  const [first] = await readMountInfo('self', { below: whole() })
  expect(first).toMatchObject({ type: 'ext4', source: device })
  expect((await mounts()).length).toBe(3)
  await tearDown('one')
  expect(await mounts()).toEqual([whole(), targetOf('two')].map((path) => path.slice(rootDir.length)))
  // A process that knows nothing but what is mounted.
  disks = createNodeDisks(rootDir, silentLogger)
  await disks.releaseUnused()
  expect((await mounts()).length).toBe(2)
  await tearDown('two')
  expect([await mounts(), existsSync(whole())]).toEqual([[], false])
  expect(readFileSync(join(await setUp(device), 'file'), 'utf8')).toBe('kept')
  await tearDown('one')
})

test('what a kill left is gone on with, or taken away', async () => {
  const device = newDevice()
  mkdirSync(whole(), { recursive: true })
  await disks.releaseUnused()
  expect(existsSync(whole())).toBe(false)
  mkdirSync(whole(), { recursive: true })
  writeFileSync(join(await setUp(device), 'file'), 'kept')
  unmount(targetOf('one')) // mounted, and not yet bound
  await setUp(device)
  expect(readFileSync(join(targetOf('one'), 'file'), 'utf8')).toBe('kept')
  unmount(targetOf('one'))
  await tearDown('one')
  expect(await mounts()).toEqual([])
  // Where a mount was lost, files are somebody's.
  mkdirSync(whole(), { recursive: true })
  writeFileSync(join(whole(), 'stray'), '')
  await expect(disks.releaseUnused()).rejects.toThrow('ENOTEMPTY')
  expect(readdirSync(whole())).toEqual(['stray'])
})

test('who names disks lets go of no others', async () => {
  await setUp(newDevice(ext4))
  await tearDownPod(rootDir, 'one')
  await disks.releaseUnused(new Set(['local-volume/mounts/other']))
  expect((await mounts()).length).toBe(1)
  await disks.releaseUnused(new Set(['local-volume/mounts/pv']))
  expect(await mounts()).toEqual([])
})

test('one in use stays mounted, and goes later', async () => {
  const device = newDevice(ext4)
  await setUp(device)
  const busy = openSync(whole(), 'r')
  await expect(tearDown('one')).rejects.toThrow(/EBUSY/)
  closeSync(busy)
  await disks.releaseUnused()
  expect(await mounts()).toEqual([])
})

test('a pod that only reads has it read-only, also when another one writes', async () => {
  const device = newDevice(ext4)
  const reads = await setUp(device, 'one', { readOnly: true })
  const write = (path: string) => () => writeFileSync(join(path, 'file'), '')
  expect(write(reads)).toThrow('EROFS')
  const writes = await setUp(device, 'two')
  write(writes)()
  expect(write(reads)).toThrow('EROFS')
  expect(existsSync(join(reads, 'file'))).toBe(true)
})

describe('a device is not written to', () => {
  const partitions = (file: string): void => {
    const sector = Buffer.alloc(512)
    sector.set([0x00, 0x20, 0x21, 0x00, 0x83, 0x10, 0x10, 0x00, 0, 8, 0, 0, 0, 8, 0, 0], 446)
    sector.set([0x55, 0xaa], 510)
    writeFileSync(file, sector, { flag: 'r+' })
  }
  const damaged = (file: string): void => {
    ext4(file)
    execFileSync('debugfs', ['-w', '-R', 'clri <2>', file], { stdio: 'ignore' })
    execFileSync('debugfs', ['-w', '-R', 'ssv state 2', file], { stdio: 'ignore' })
  }
  test.each<[string, (file: string) => void, Partial<LocalPlan>, RegExp]>([
    ['that is blank and only read', () => {}, { readOnly: true }, /cannot mount unformatted disk .* in read-only mode/],
    ['that has partitions', partitions, {}, /as "ext4", it already contains unknown data, probably partitions/],
    [
      'that has another file system',
      ext4,
      { fsType: 'xfs' },
      /as "xfs", it already contains ext4. Mount error: EINVAL/,
    ],
    ['that fsck cannot mend', damaged, {}, /'fsck' found errors on device .* but could not correct them: /],
  ])('%s', async (_, content, more, message) => {
    const device = newDevice(content)
    const before = readFileSync(image())
    const error = await failure(setUp(device, 'one', more))
    expect(error).toMatchObject({ name: 'VolumeError', message: expect.stringMatching(message) as unknown })
    expect(error.message).toMatch(/^MountVolume\.MountDevice failed for volume "pv" : local: failed to mount device /)
    const isMismatch = error.message.includes('already contains')
    expect(told.map(({ reason }) => reason)).toEqual(isMismatch ? ['FailedMountOnFilesystemMismatch'] : [])
    expect([await mounts(), existsSync(whole())]).toEqual([[], false])
    if (message.source.includes('fsck')) return // what fsck could mend is for it to write
    expect(readFileSync(image()).equals(before)).toBe(true)
  })
  test('that somebody has to himself', async () => {
    const device = newDevice()
    const held = openSync(device, constants.O_RDONLY | constants.O_EXCL)
    try {
      await expect(setUp(device)).rejects.toThrow('is in use: it is not formatted')
    } finally {
      closeSync(held)
    }
    expect(readFileSync(image()).every((byte) => byte === 0)).toBe(true)
  })
  test('where another one is mounted', async () => {
    const device = newDevice(ext4)
    mkdirSync(whole(), { recursive: true })
    mount({ source: 'tmpfs', target: whole(), type: 'tmpfs' })
    await expect(setUp(device)).rejects.toThrow(`is mounted, and not from ${device}`)
  })
})

test('killed at any moment, the next process has it all, or nothing', { timeout: 60_000 }, async () => {
  const device = newDevice()
  for (const afterMs of [30]) {
    const words = ['--conditions=@nodelet/source', join(import.meta.dirname, 'local-killed.ts'), rootDir, device]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    await once(child.stdout, 'data')
    setTimeout(() => child.kill('SIGKILL'), afterMs)
    await exited
    disks = createNodeDisks(rootDir, silentLogger)
    // A program that it ran may still be at work.
    await expect.poll(async () => setUp(device).then(() => 'done', String)).toBe('done')
    writeFileSync(join(targetOf('one'), `after ${afterMs}`), '')
    await tearDown('one')
    expect(await mounts()).toEqual([])
  }
  expect(readdirSync(await setUp(device)).toSorted()).toEqual(['after 30', 'lost+found'])
})
