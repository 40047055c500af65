// What the hostpath driver does beyond what any driver must.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createHostpathDriver } from '@nodelet/csi-node/hostpath'
import { mount, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  ControllerService,
  ControllerServiceCapability_RPC_Type as Rpc,
  NodeService,
  type Volume,
} from '../../src/gen/csi.ts'
import { topologyKey } from '../../src/hostpath/options.ts'
import { Session, unique } from '../../src/testing/subject.ts'
import { openWorld, type World } from './world.ts'

const { deleteVolume, createVolume, createSnapshot, deleteSnapshot } = ControllerService
const { nodePublishVolume, nodeUnpublishVolume, nodeStageVolume } = NodeService

let world: World
let session: Session
async function start(options: Parameters<typeof openWorld>[0] = {}): Promise<void> {
  world = await openWorld(options)
  session = open()
}
const open = (more: { isBlock?: boolean; parameters?: Record<string, string> } = {}): Session =>
  new Session({ socketPath: world.socketPath, folder: world.folder, ...more })
beforeEach(() => {
  session = undefined as never
})
afterEach(async () => {
  await using _world = world
  await session[Symbol.asyncDispose]()
})

const stateFile = (): string => join(world.stateDir, 'state.json')
interface Written {
  volumes: { id: string; data: string; isDeleting: boolean; grows: boolean; published: object[] }[]
  snapshots: { data: string }[]
}
const readState = (): Written => JSON.parse(readFileSync(stateFile(), 'utf8')) as Written
const editState = (work: (state: Written) => void): void => {
  const state = readState()
  work(state)
  writeFileSync(stateFile(), JSON.stringify(state))
}
const dataOf = (volumeId: string): string => readState().volumes.find(({ id }) => id === volumeId)?.data ?? ''
const bytesOf = (path: string): number => {
  const { blocks, bsize } = statfsSync(path)
  return blocks * bsize
}
const pathOf = (volumeId: string): string => join(world.stateDir, 'volumes', dataOf(volumeId))

test('it claims what csi-sanity knows: any other claim fails a driver', async () => {
  await start({ enableAttach: true })
  const { capabilities } = await session.call(ControllerService.controllerGetCapabilities, {})
  const names = Object.entries(Rpc).filter(([, type]) => capabilities.some(({ rpc }) => rpc?.type === type))
  expect(names.map(([name]) => name).toSorted()).toEqual([
    'CLONE_VOLUME',
    'CREATE_DELETE_SNAPSHOT',
    'CREATE_DELETE_VOLUME',
    'EXPAND_VOLUME',
    'GET_CAPACITY',
    'GET_VOLUME',
    'LIST_SNAPSHOTS',
    'LIST_VOLUMES',
    'LIST_VOLUMES_PUBLISHED_NODES',
    'PUBLISH_READONLY',
    'PUBLISH_UNPUBLISH_VOLUME',
    'SINGLE_NODE_MULTI_WRITER',
    'VOLUME_CONDITION',
  ])
})

test('what a kill left half-done is finished or undone', async () => {
  await start()
  const [moved, deleted] = [await session.volume(), await session.volume()]
  const [movedPath, deletedPath] = [pathOf(moved.volumeId), pathOf(deleted.volumeId)]
  writeFileSync(join(movedPath, 'file'), 'text')
  // Killed between the record and the move; in the middle of a copy; in the middle of a removal.
  const { rename } = await import('node:fs/promises')
  await rename(movedPath, join(world.stateDir, 'making', dataOf(moved.volumeId)))
  mkdirSync(join(world.stateDir, 'making', 'half'))
  editState(({ volumes }) => {
    for (const each of volumes) if (each.id === deleted.volumeId) each.isDeleting = true
  })
  await world.restart()
  expect(readFileSync(join(movedPath, 'file'), 'utf8')).toBe('text')
  expect(existsSync(deletedPath)).toBe(false)
  expect(readdirSync(join(world.stateDir, 'making'))).toEqual([])
  expect(readState().volumes.map(({ id }) => id)).toEqual([moved.volumeId])
})

test('a file system that a killed driver left frozen takes writes again', async () => {
  await start()
  session = open({ parameters: { backing: 'image' } })
  const volume = await session.volume()
  const staging = await session.stage(volume)
  execFileSync('fsfreeze', ['--freeze', staging])
  try {
    await world.restart()
    // What is not frozen cannot be thawed: were it frozen, a write would wait for ever.
    expect(() => execFileSync('fsfreeze', ['--unfreeze', staging], { stdio: 'pipe' })).toThrow('Invalid argument')
    writeFileSync(join(staging, 'file'), 'text')
  } finally {
    spawnSync('fsfreeze', ['--unfreeze', staging])
  }
})

test('a state that is damaged, or gone, stops the start and nothing is touched', async () => {
  await start()
  const { volumeId } = await session.volume()
  const path = pathOf(volumeId)
  const state = readFileSync(stateFile())
  writeFileSync(stateFile(), state.subarray(0, 40))
  await expect(world.restart()).rejects.toThrow('state.json is damaged')
  rmSync(stateFile())
  await expect(world.restart()).rejects.toThrow('state.json is not there, but')
  expect(existsSync(path)).toBe(true)
  writeFileSync(stateFile(), state)
  await world.restart()
})

test('one process has the folder', async () => {
  await start()
  const { stateDir } = world
  await expect(
    createHostpathDriver({ stateDir }).serve({ endpoint: join(stateDir, 'other.sock'), register: false }),
  ).rejects.toThrow(`${stateDir} is in use by process ${process.pid}`)
})

test('what is in use, or has something mounted in it, is not removed', async () => {
  await start()
  const { secrets } = session
  const used = await session.volume()
  await session.stage(used)
  await session.refuses('FAILED_PRECONDITION', deleteVolume, { volumeId: used.volumeId, secrets })

  const { volumeId } = await session.volume()
  const path = pathOf(volumeId)
  mkdirSync(join(path, 'inner'))
  writeFileSync(join(path, 'file'), 'text')
  mount({ source: 'tmpfs', target: join(path, 'inner'), type: 'tmpfs' })
  try {
    writeFileSync(join(path, 'inner', 'other'), "somebody else's")
    await session.refuses('FAILED_PRECONDITION', deleteVolume, { volumeId, secrets })
    expect(readFileSync(join(path, 'inner', 'other'), 'utf8')).toBe("somebody else's")
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('text')
  } finally {
    unmount(join(path, 'inner'))
  }
})

test('after a restart of the machine nothing is published that is not staged anew', async () => {
  await start()
  const volume = await session.volume()
  const staging = await session.stage(volume)
  unmount(staging) // as a restart leaves it: known, and not there
  await world.restart()
  const target = join(await session.folder('pod'), 'mount')
  const request = session.publishRequest(volume, staging, target)
  await session.refuses('FAILED_PRECONDITION', nodePublishVolume, request)
  await session.call(nodeStageVolume, session.stageRequest(volume, staging))
  const published = await session.publish(volume, staging)
  writeFileSync(join(published, 'file'), 'text')
  expect(readFileSync(join(pathOf(volume.volumeId), 'file'), 'utf8')).toBe('text')
})

test('an inline volume comes with its pod and goes with it', async () => {
  await start()
  const volumeId = `csi-${'a'.repeat(64)}`
  const volume: Volume = {
    volumeId,
    capacityBytes: 0n,
    // The tests of Kubernetes itself give attributes that mean nothing.
    volumeContext: { 'csi.storage.k8s.io/ephemeral': 'true', foo: 'bar' },
    contentSource: undefined,
    accessibleTopology: [],
  }
  const targetPath = await session.publish(volume, '')
  writeFileSync(join(targetPath, 'file'), 'text')
  const path = pathOf(volumeId)
  expect(readFileSync(join(path, 'file'), 'utf8')).toBe('text')
  await session.call(nodeUnpublishVolume, { volumeId, targetPath })
  expect([existsSync(targetPath), existsSync(path)]).toEqual([false, false])
  await session.call(nodeUnpublishVolume, { volumeId, targetPath })
})

test('the end of an inline volume takes away what it is published at, and no mount of another', async () => {
  await start()
  const volumeId = `csi-${'b'.repeat(64)}`
  const volumeContext = { 'csi.storage.k8s.io/ephemeral': 'true' }
  const volume: Volume = { ...(await session.volume()), volumeId, volumeContext }
  const target = await session.publish(volume, '')
  writeFileSync(join(target, 'file'), 'text')
  const others = await session.folder('others')
  mount({ source: 'tmpfs', target: others, type: 'tmpfs' })
  try {
    await session.refuses('NOT_FOUND', nodeUnpublishVolume, { volumeId, targetPath: others })
    const elsewhere = join(world.folder, 'nothing')
    await session.call(nodeUnpublishVolume, { volumeId, targetPath: elsewhere })
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('text')
    // Made, and killed before it was published.
    editState(({ volumes }) => {
      for (const each of volumes) if (each.id === volumeId) each.published = []
    })
    unmount(target)
    rmdirSync(target)
    await world.restart()
    await session.refuses('NOT_FOUND', nodeUnpublishVolume, { volumeId, targetPath: others })
    const path = pathOf(volumeId)
    await session.call(nodeUnpublishVolume, { volumeId, targetPath: target })
    expect([existsSync(target), existsSync(path)]).toEqual([false, false])
  } finally {
    unmount(others)
  }
})

test('where a restart of the machine took all mounts away, nothing is in use: it is published elsewhere, or deleted', async () => {
  await start()
  const { secrets } = session
  const used = await session.volume()
  const unused = (await session.call(createVolume, session.createRequest())).volume ?? used
  for (const volume of [used, unused]) {
    const staging = await session.folder('staging')
    const target = join(await session.folder('pod'), 'mount')
    await session.call(nodeStageVolume, session.stageRequest(volume, staging))
    await session.call(nodePublishVolume, session.publishRequest(volume, staging, target))
    await session.refuses('FAILED_PRECONDITION', deleteVolume, { volumeId: volume.volumeId, secrets })
    for (const path of [target, staging]) unmount(path)
    rmdirSync(target)
  }
  await world.restart()
  await session.publish(used, await session.stage(used))
  await session.call(deleteVolume, { volumeId: unused.volumeId, secrets })
  const stagingTargetPath = await session.folder('staging')
  await session.call(NodeService.nodeUnstageVolume, { volumeId: unused.volumeId, stagingTargetPath })
  expect(readState().volumes.map(({ id }) => id)).toEqual([used.volumeId])
})

test('no volume is made for other nodes', async () => {
  await start()
  const on = (...nodes: string[]) => ({
    accessibilityRequirements: { requisite: nodes.map((node) => ({ segments: { [topologyKey]: node } })) },
  })
  await session.refuses('RESOURCE_EXHAUSTED', createVolume, session.createRequest(on('there', 'elsewhere')))
  expect(await session.volume(on('there', 'here'))).toMatchObject({
    accessibleTopology: [{ segments: { [topologyKey]: 'here' } }],
  })
})

test('ext4 fills an image that is larger than what it was copied from, or than it was, when it is mounted next', async () => {
  await start()
  session = open({ parameters: { backing: 'image' } })
  const source = await session.volume()
  writeFileSync(join(await session.stage(source), 'file'), 'text')
  const large = { capacityRange: { requiredBytes: 40n << 20n, limitBytes: 0n } }
  const clone = await session.volume({ ...large, volumeContentSource: { volume: { volumeId: source.volumeId } } })
  const staging = await session.stage(clone)
  expect(bytesOf(staging)).toBeGreaterThan(30 << 20)
  expect(readFileSync(join(staging, 'file'), 'utf8')).toBe('text')

  const grown = await session.volume()
  const { volumeId } = grown
  const request = { volumeId, ...large, secrets: {}, volumeCapability: undefined }
  await session.call(ControllerService.controllerExpandVolume, request as never)
  expect(bytesOf(await session.stage(grown))).toBeGreaterThan(30 << 20)
  expect(readState().volumes.map(({ grows }) => grows)).toEqual([false, false, false])
})

test('a volume of a snapshot that is gone by now is the same volume, asked for again', async () => {
  await start()
  const { secrets } = session
  const { volumeId: sourceVolumeId } = await session.volume()
  // As classes have it that were written for the sample driver.
  const request = { sourceVolumeId, name: unique('s'), secrets, parameters: { ignoreFailedRead: 'true' } }
  const { snapshot } = await session.call(createSnapshot, request)
  const snapshotId = snapshot?.snapshotId ?? ''
  const wanted = { name: unique('volume'), volumeContentSource: { snapshot: { snapshotId } } }
  const { volumeId } = await session.volume(wanted)
  await session.call(deleteSnapshot, { snapshotId, secrets })
  expect(await session.volume(wanted)).toMatchObject({ volumeId })
  await session.refuses('ALREADY_EXISTS', createVolume, session.createRequest({ name: wanted.name }))
})

test('kinds have what they were given, also by those that come at once', async () => {
  await start({ capacity: { fast: 25 * 2 ** 20 } })
  session = open({ parameters: { kind: 'fast' } })
  const wanted = await Promise.allSettled([session.volume(), session.volume(), session.volume()])
  const failures = wanted.flatMap((each) => (each.status === 'rejected' ? [(each.reason as Error).message] : []))
  expect(failures).toEqual(['8 RESOURCE_EXHAUSTED: 10485760 bytes more: 5242880 of kind fast are left'])
  expect(readdirSync(join(world.stateDir, 'volumes'))).toHaveLength(2)
  const request = { volumeCapabilities: [], parameters: { kind: 'fast' }, accessibleTopology: undefined }
  // None may be larger than what is left.
  expect(await session.call(ControllerService.getCapacity, request)).toMatchObject({
    availableCapacity: 5n * 2n ** 20n,
    maximumVolumeSize: 5n * 2n ** 20n,
  })
})

test('as many are attached as may be', async () => {
  await start({ enableAttach: true, attachLimit: 1 })
  expect(await session.call(NodeService.nodeGetInfo, {})).toMatchObject({ maxVolumesPerNode: 1n })
  const [one, other] = [await session.volume(), await session.volume()]
  await session.refuses(
    'FAILED_PRECONDITION',
    nodeStageVolume,
    session.stageRequest(one, await session.folder('staging')),
  )
  await session.attach(one)
  await expect(session.attach(other)).rejects.toThrow('RESOURCE_EXHAUSTED: 1 volumes are attached, as many as may be')
})

test(
  'killed at any moment, the program has for each volume its data, and nothing else',
  { timeout: 120_000 },
  async () => {
    await start()
    const [endpoint, stateDir] = [join(world.stateDir, 'killed.sock'), join(world.stateDir, 'killed')]
    const main = join(import.meta.dirname, '../../src/hostpath/main.ts')
    const code = `import(${JSON.stringify(main)}).then(({ main }) => main(process.argv.slice(1)))`
    const flags = ['--endpoint', endpoint, '--statedir', stateDir, '--nodeid', 'here', '--no-register']
    await using own = new Session({ socketPath: endpoint, folder: world.folder })
    const { secrets } = own
    for (const afterMs of [0, 7, 23]) {
      const child = spawn(process.execPath, ['--conditions=@nodelet/source', '-e', code, '--', ...flags], {
        stdio: 'pipe',
      })
      const exited = once(child, 'exit')
      const [line] = (await once(child.stderr, 'data')) as [Buffer]
      expect(line.toString()).toBe(`hostpath.csi.k8s.io serves ${endpoint}\n`)
      const state = JSON.parse(readFileSync(join(stateDir, 'state.json'), 'utf8')) as Written
      const { volumes, snapshots } = state
      expect(readdirSync(join(stateDir, 'volumes')).toSorted()).toEqual(volumes.map(({ data }) => data).toSorted())
      expect(readdirSync(join(stateDir, 'snapshots')).toSorted()).toEqual(snapshots.map(({ data }) => data).toSorted())
      expect(readdirSync(join(stateDir, 'making'))).toEqual([])
      const image = { parameters: { backing: 'image' } }
      const made = await own.call(createVolume, own.createRequest({ ...image, name: 'lasting' }))
      const sourceVolumeId = made.volume?.volumeId ?? ''
      // All of these are under way when it dies.
      const calls = [
        own.call(createVolume, own.createRequest(image)),
        own.call(createVolume, own.createRequest()),
        own.call(createSnapshot, { sourceVolumeId, name: unique('s'), secrets, parameters: {} }),
        ...volumes
          .filter(({ id }) => id !== sourceVolumeId)
          .map(async ({ id }) => own.call(deleteVolume, { volumeId: id, secrets })),
        ...snapshots.map(async ({ data }) => own.call(deleteSnapshot, { snapshotId: data, secrets })),
      ]
      setTimeout(() => child.kill('SIGKILL'), afterMs)
      await Promise.allSettled(calls)
      await exited
    }
  },
)
