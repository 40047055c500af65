// What a kill at any step leaves is found by the next process: wanted volumes go on, the others are undone, and no file is lost.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { mount } from '@nodelet/linux'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { blockPaths, publishPaths, stagingPaths } from '../../src/volume/names.ts'
import { CsiError } from '../../src/sdk/index.ts'
import { disk, driverName, never, newWorld, podOf, type World } from './world.ts'

let world: World
beforeEach(async () => {
  world = await newWorld()
})
afterEach(async () => world[Symbol.asyncDispose]())

/** Does it in a process that is killed when the driver comes to this step, before it does it or after; the driver ends it. */
async function killedAt(
  work: 'up' | 'down',
  when: 'before' | 'after',
  step: 'stage' | 'publish' | 'unpublish' | 'unstage',
): Promise<void> {
  const program = join(import.meta.dirname, 'killed.ts')
  const call = ['--conditions=@nodelet/source', program, world.rootDir, world.socketPath, work]
  const child = spawn(process.execPath, call, { stdio: 'inherit' })
  const exit = once(child, 'exit') as Promise<[number, string]>
  const kill = (): boolean => child.kill('SIGKILL')
  const ended = Promise.withResolvers<void>()
  if (when === 'before') world.before[step] = kill
  world.after[step] = () => {
    if (when === 'after') kill()
    ended.resolve()
  }
  const [, signal] = await exit
  await ended.promise
  delete world.before[step]
  delete world.after[step]
  expect(signal).toBe('SIGKILL')
}

const target = (): string => publishPaths(world.rootDir, 'uid-1', 'pv-1').target
const whole = (): boolean => existsSync(join(target(), 'precious'))
const up = async (): Promise<void> => {
  const volumes = await world.open()
  await volumes.setUp(disk(), podOf(), {}, never)
  await volumes.close()
  writeFileSync(join(target(), 'precious'), 'data')
}

const undo = async (): Promise<void> => {
  const volumes = await world.open()
  await volumes.tearDown('uid-1')
  await volumes.tearDownUnused()
  await volumes.close()
}

test('killed at a step of setting up: the next process goes on, or undoes it all', async () => {
  await killedAt('up', 'after', 'publish')
  await undo()
  expect([await world.mounts(), world.left()]).toEqual([[], []])
  await killedAt('up', 'after', 'stage')
  const volumes = await world.open()
  expect(volumes.inUse()).toEqual([`kubernetes.io/csi/${driverName}^vol-1`])
  await volumes.setUp(disk(), podOf(), {}, never)
  expect(await world.mounts()).toHaveLength(2)
})

test('killed at a step of taking away: the next process ends it, or sets up again', async () => {
  await up()
  await killedAt('down', 'after', 'unpublish')
  await undo()
  expect([await world.mounts(), world.left()]).toEqual([[], []])
  await up()
  await killedAt('down', 'before', 'unpublish')
  const volumes = await world.open()
  await volumes.setUp(disk(), podOf(), {}, never)
  expect(whole()).toBe(true)
})

describe('after a restart', () => {
  test('wanted volumes are staged and published again, and kept when the driver refuses', async () => {
    await up()
    world.asked()
    const volumes = await world.open()
    expect(volumes.published()).toEqual([
      { driver: driverName, volumeHandle: 'vol-1', specName: 'pv-1', podUid: 'uid-1' },
    ])
    await volumes.tearDownUnused()
    world.before.stage = () => {
      throw new CsiError('INTERNAL', 'no')
    }
    await expect(volumes.setUp(disk(), podOf(), {}, never)).rejects.toThrow('MountVolume.MountDevice failed')
    expect([world.asked(), whole(), existsSync(stagingPaths(world.rootDir, driverName, 'vol-1').data)]).toEqual([
      ['stage'],
      true,
      true,
    ])
    delete world.before.stage
    volumes.driverCame(driverName)
    await volumes.setUp(disk(), podOf(), {}, never)
    expect([world.asked(), whole()]).toEqual([['stage', 'publish'], true])
  })

  test('an empty vol_data.json, of a crash of another kubelet, is made anew from what is mounted', async () => {
    await up()
    const { data } = publishPaths(world.rootDir, 'uid-1', 'pv-1')
    writeFileSync(data, '')
    const volumes = await world.open()
    expect(JSON.parse(readFileSync(data, 'utf8'))).toEqual({
      driverName,
      volumeHandle: 'vol-1',
      specVolID: 'pv-1',
      volumeLifecycleMode: 'Persistent',
    })
    // That of the staged volume is known by the other.
    writeFileSync(stagingPaths(world.rootDir, driverName, 'vol-1').data, '{"driverName":')
    const again = await world.open()
    await again.tearDown('uid-1')
    expect([volumes.published().length, world.left(), await world.mounts()]).toEqual([1, [], []])
  })

  test.each([
    ['another driver', { driverName: 'other.example.com', volumeHandle: 'vol-1' }],
    ['another volume', { driverName, volumeHandle: 'vol-2' }],
  ])('a record of a staged volume that names %s is not believed: nothing of it is unstaged', async (_, lie) => {
    await up()
    const staged = stagingPaths(world.rootDir, driverName, 'vol-1')
    writeFileSync(staged.data, JSON.stringify(lie))
    const volumes = await world.open()
    expect(volumes.inUse()).toEqual([`kubernetes.io/csi/${driverName}^vol-1`])
    world.asked()
    await volumes.tearDownUnused()
    expect([world.asked(), whole()]).toEqual([[], true])
    // The folder's own volume is known by the pod that has it.
    await volumes.tearDown('uid-1')
    expect([world.asked(), world.left(), await world.mounts()]).toEqual([['unpublish', 'unstage'], [], []])
    expect(world.calls.at(-1)?.request).toMatchObject({ volumeId: 'vol-1', stagingPath: staged.target })
  })

  test('a record that names another volume, of a volume that no pod has, stays with all that is there', async () => {
    const staged = stagingPaths(world.rootDir, driverName, 'vol-1')
    mkdirSync(staged.target, { recursive: true })
    writeFileSync(staged.data, `{"driverName":"${driverName}","volumeHandle":"vol-2"}\n`)
    mount({ source: 'disk', target: staged.target, type: 'tmpfs' })
    const volumes = await world.open()
    await volumes.tearDownUnused()
    expect([volumes.inUse(), world.asked(), await world.mounts()]).toEqual([
      [],
      [],
      [staged.target.slice(world.rootDir.length)],
    ])
  })

  test('a volume that an older kubelet staged by its name is adopted', async () => {
    const folder = join(world.rootDir, 'plugins/kubernetes.io/csi/pv/pv-1')
    const globalmount = join(folder, 'globalmount')
    mkdirSync(globalmount, { recursive: true })
    writeFileSync(join(folder, 'vol_data.json'), `{"driverName":"${driverName}","volumeHandle":"vol-1"}\n`)
    mount({ source: 'disk', target: globalmount, type: 'tmpfs' })
    writeFileSync(join(globalmount, 'precious'), 'data')
    const volumes = await world.open()
    await volumes.setUp(disk(), podOf(), {}, never)
    expect([whole(), world.calls.map(({ request }) => request['stagingPath'])]).toEqual([
      true,
      [globalmount, globalmount],
    ])
    await volumes.tearDown('uid-1')
    expect([world.left(), await world.mounts()]).toEqual([['plugins/kubernetes.io/csi/pv'], []])
  })

  test.each<[string, (paths: ReturnType<typeof publishPaths>, staged: ReturnType<typeof stagingPaths>) => void]>([
    [
      'folders alone',
      ({ folder }, { target }) => [folder, target].forEach((path) => mkdirSync(path, { recursive: true })),
    ],
    [
      'half a record',
      ({ folder, data }) => (mkdirSync(folder, { recursive: true }), writeFileSync(`${data}.tmp`, '{"dri')),
    ],
    [
      'what is neither',
      ({ folder }, staged) => {
        mkdirSync(join(folder, '..'), { recursive: true })
        writeFileSync(join(folder, '../file'), '')
        mkdirSync(staged.folder, { recursive: true })
        writeFileSync(staged.data, '[]')
      },
    ],
    [
      'a link in the place of a record',
      ({ folder, data }, staged) => {
        for (const path of [folder, staged.folder]) mkdirSync(path, { recursive: true })
        for (const path of [data, staged.data]) symlinkSync('vol_data.json', path)
        symlinkSync('elsewhere', `${data}.tmp`)
      },
    ],
    [
      'a pipe in the place of a record',
      ({ folder, data }, staged) => {
        for (const path of [folder, staged.folder]) mkdirSync(path, { recursive: true })
        execFileSync('mkfifo', [data, staged.data, `${data}.tmp`])
      },
    ],
    [
      'a record with fields of other kinds',
      ({ folder, data }) => {
        mkdirSync(folder, { recursive: true })
        writeFileSync(data, `{"driverName":"${driverName}","volumeHandle":"vol-1","specVolID":7}`)
      },
    ],
  ])('%s on disk are no volume, and in nobody’s way', async (_, make) => {
    make(publishPaths(world.rootDir, 'uid-1', 'pv-1'), stagingPaths(world.rootDir, driverName, 'vol-1'))
    const volumes = await world.open()
    expect([volumes.published(), volumes.inUse()]).toEqual([[], []])
    await volumes.setUp(disk(), podOf(), {}, never)
    expect(await world.mounts()).toHaveLength(2)
    await volumes.tearDown('uid-1')
    expect(await world.mounts()).toEqual([])
  })

  test('a folder in the place of a record keeps no process from its start', async () => {
    const { data } = publishPaths(world.rootDir, 'uid-1', 'pv-1')
    const folders = [data, `${data}.tmp`, stagingPaths(world.rootDir, driverName, 'vol-1').data]
    for (const folder of folders) mkdirSync(folder, { recursive: true })
    const volumes = await world.open()
    expect(volumes.published()).toEqual([])
    await expect(volumes.setUp(disk(), podOf(), {}, never)).rejects.toThrow('EISDIR')
    expect(folders.every((folder) => existsSync(folder))).toBe(true)
  })

  test('a file in the place of a folder of a pod keeps no process from its start', async () => {
    for (const [uid, place] of [
      ['uid-1', ''],
      ['uid-2', 'volumes'],
      ['uid-3', 'volumes/kubernetes.io~csi'],
    ] as const) {
      const file = join(world.rootDir, 'pods', uid, place)
      mkdirSync(join(file, '..'), { recursive: true })
      writeFileSync(file, '')
    }
    expect((await world.open()).published()).toEqual([])
  })

  test('what a kill left of volumes whose record was not whole yet, or not any more, goes; what is not ours stays', async () => {
    const staged = stagingPaths(world.rootDir, driverName, 'vol-1')
    const block = blockPaths(world.rootDir, 'pv-2')
    const published = publishPaths(world.rootDir, 'uid-1', 'pv-1')
    for (const path of [staged.target, block.dataFolder, block.devices, block.staging, block.published])
      mkdirSync(path, { recursive: true })
    mkdirSync(published.folder, { recursive: true })
    for (const { data } of [staged, block, published]) writeFileSync(`${data}.tmp`, '{"dri')
    const other = stagingPaths(world.rootDir, driverName, 'vol-3')
    mkdirSync(other.target, { recursive: true })
    writeFileSync(join(other.target, 'precious'), 'data')
    const volumes = await world.open()
    expect([volumes.published(), volumes.inUse(), world.left()]).toEqual([
      [],
      [],
      [published.folder, other.folder, other.target, join(other.target, 'precious')].map((path) =>
        relative(world.rootDir, path),
      ),
    ])
  })

  test('after a reboot nothing is mounted: the folders are there, and the volume is set up anew', async () => {
    await up()
    const left = await world.open()
    await left.tearDown('uid-1')
    const paths = [publishPaths(world.rootDir, 'uid-1', 'pv-1'), stagingPaths(world.rootDir, driverName, 'vol-1')]
    for (const { target, data } of paths) {
      mkdirSync(target, { recursive: true })
      writeFileSync(data, `{"driverName":"${driverName}","volumeHandle":"vol-1"}\n`)
    }
    const volumes = await world.open()
    await volumes.setUp(disk(), podOf(), {}, never)
    expect(await world.mounts()).toHaveLength(2)
    await volumes.tearDown('uid-1')
    expect([world.left(), await world.mounts()]).toEqual([[], []])
  })
})

test.each(['volumes', 'volumes/kubernetes.io~csi', 'volumes/kubernetes.io~csi/pv-1'])(
  'a link that a container put in the place of %s of its pod leads to no volume of another',
  async (place) => {
    await up()
    const [link, others] = ['uid-2', 'uid-1'].map((uid) => join(world.rootDir, 'pods', uid, place)) as [string, string]
    mkdirSync(join(link, '..'), { recursive: true })
    symlinkSync(others, link)
    const volumes = await world.open()
    expect(volumes.published().map(({ podUid }) => podUid)).toEqual(['uid-1'])
    world.asked()
    const isLink = `${link} is a link, which is not followed`
    await expect(volumes.setUp(disk(), podOf('uid-2'), {}, never)).rejects.toThrow(isLink)
    expect([world.asked(), whole()]).toEqual([['stage'], true])
    // It comes while the pod has the volume.
    rmSync(link)
    volumes.driverCame(driverName)
    await volumes.setUp(disk(), podOf('uid-2'), {}, never)
    world.asked()
    renameSync(link, `${link}-aside`)
    symlinkSync(others, link)
    await expect(volumes.tearDown('uid-2')).rejects.toThrow(isLink)
    expect([world.asked(), whole()]).toEqual([[], true])
    rmSync(link)
    renameSync(`${link}-aside`, link)
    volumes.driverCame(driverName)
    await volumes.tearDown('uid-2')
    expect([world.asked(), whole()]).toEqual([['unpublish'], true])
  },
)

test('a driver that does not stage leaves no record of staging', async () => {
  await using plain = await newWorld(['stage', 'unstage', 'stats', 'expand'])
  const volumes = await plain.open()
  await volumes.setUp(disk(), podOf(), {}, never)
  expect(plain.asked()).toEqual(['publish'])
  const { folder, target: globalmount } = stagingPaths(plain.rootDir, driverName, 'vol-1')
  expect([readdirSync(folder), readdirSync(globalmount)]).toEqual([['globalmount'], []])
  expect(await volumes.stats('uid-1', 'pv-1', never)).toBeUndefined()
  expect(await volumes.expand({ volume: disk(), pod: podOf(), requiredBytes: 1 }, never)).toBeUndefined()
  await volumes.tearDown('uid-1')
  expect([plain.asked(), plain.left()]).toEqual([['unpublish'], []])
})

test('a volume whose name has a slash is the same one for the next process', async () => {
  const volume = disk({ specName: 'csi.example.com-[store] a/b.vmdk' })
  const first = await world.open()
  const path = await first.setUp(volume, podOf(), {}, never)
  await first.close()
  expect(path).toContain('/csi.example.com-[store] a~b.vmdk/')
  const next = await world.open()
  expect(next.published()).toMatchObject([{ specName: volume.specName, podUid: 'uid-1' }])
  expect(await next.setUp(volume, podOf(), {}, never)).toBe(path)
  await next.tearDown('uid-1')
  expect([next.published(), await world.mounts(), world.left()]).toEqual([[], [], []])
})
