import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { createCsiDrivers, createCsiVolumes } from '@nodelet/csi-node'
import { mount, readMountInfo } from '@nodelet/linux'
import type { Volume } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { removeGonePods } from '../src/pod/prune.ts'
import { createAttachments } from '../src/storage/attach.ts'
import { noStorageObjects, type StorageObjects } from '../src/storage/objects.ts'
import type { VolumeManagerOptions } from '../src/index.ts'
import { findVolumes } from '../src/volume/found.ts'
import type { VolumeWork } from '../src/volume/work.ts'
import type { VolumeError } from '../src/volume/types.ts'
import { newWorld, podWith } from './volume-world.ts'
import type { World } from './volume-world.ts'

let world: World
beforeEach(() => {
  world = newWorld()
})
afterEach(() => world.end())

const mountOne = async (volume: Volume, spec = {}, container = {}): Promise<string> => {
  const paths = await world.manager.mount(podWith([volume], spec, container))
  return paths.get(volume.name) ?? ''
}
const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8)
const base64 = (text: string): string => Buffer.from(text).toString('base64')

test('emptyDir: a folder for all, kept over mounts, gone with the pod', async () => {
  const path = await mountOne({ name: 'v', emptyDir: {} })
  expect(path).toBe(join(world.rootDir, 'pods/uid-1/volumes/kubernetes.io~empty-dir/v'))
  expect(modeOf(path)).toBe('777')
  mkdirSync(join(path, 'a/b'), { recursive: true })
  writeFileSync(Buffer.concat([Buffer.from(`${path}/a/`), Buffer.from([0xff, 0xfe])]), 'not UTF-8')
  expect(await mountOne({ name: 'v', emptyDir: {} })).toBe(path)
  expect(readdirSync(path)).toEqual(['a'])
  await world.manager.unmount('uid-1')
  await world.manager.unmount('uid-1')
  expect(readdirSync(join(world.rootDir, 'pods'))).toEqual([])
})

test('emptyDir in memory: a tmpfs of the limit, not mounted twice', async () => {
  const volume = { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }
  const path = await mountOne(volume)
  writeFileSync(join(path, 'file'), 'x')
  expect(await world.newManager().mount(podWith([volume]))).toEqual(new Map([['v', path]]))
  const mounts = (await readMountInfo()).filter(({ mountPoint }) => mountPoint === path)
  expect(mounts).toMatchObject([{ type: 'tmpfs', superOptions: expect.arrayContaining(['size=1024k']) }])
  expect(modeOf(path)).toBe('777')
  expect(readdirSync(path)).toEqual(['file'])
  await world.manager.unmount('uid-1')
  expect(await world.mountsBelow()).toEqual([])
})

test('emptyDir of huge pages: a hugetlbfs of the limit, not mounted twice', async () => {
  const volume = { name: 'v', emptyDir: { medium: 'HugePages' } }
  const pod = podWith([volume], {}, { resources: { limits: { 'hugepages-2Mi': '4Mi' } } })
  const path = (await world.manager.mount(pod)).get('v') ?? ''
  expect(await world.newManager().mount(pod)).toEqual(new Map([['v', path]]))
  const mounts = (await readMountInfo()).filter(({ mountPoint }) => mountPoint === path)
  expect(mounts).toMatchObject([{ type: 'hugetlbfs', superOptions: expect.arrayContaining(['pagesize=2M']) }])
  const { blocks, bsize } = statfsSync(path)
  expect([blocks * bsize, modeOf(path)]).toEqual([4 << 20, '777'])
  await world.manager.unmount('uid-1')
  expect(await world.mountsBelow()).toEqual([])
})

test('fsGroup owns what is in an emptyDir', async () => {
  const path = await mountOne({ name: 'v', emptyDir: {} }, { securityContext: { fsGroup: 4321 } })
  expect([statSync(path).gid, modeOf(path)]).toEqual([4321, '2777'])
})

test('configMap: items, modes, binary data; and a change reaches the folder by itself', async () => {
  world.configMaps.set('m', { data: { a: '1', b: 'two' }, binaryData: { c: base64('\x00\xff') } })
  const items = [
    { key: 'b', path: 'deep/er/b.txt', mode: 0o400 },
    { key: 'a', path: 'a' },
  ]
  const path = await mountOne({ name: 'v', configMap: { name: 'm', items } })
  expect(readdirSync(path).filter((name) => !name.startsWith('..'))).toEqual(['a', 'deep'])
  expect(readFileSync(join(path, 'deep/er/b.txt'), 'utf8')).toBe('two')
  expect([modeOf(join(path, 'deep/er/b.txt')), modeOf(join(path, 'a'))]).toEqual(['400', '644'])
  expect(readlinkSync(join(path, 'a'))).toBe('..data/a')
  const before = readlinkSync(join(path, '..data'))
  expect(before).toMatch(/^\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+$/)
  await mountOne({ name: 'v', configMap: { name: 'm', items } })
  expect(readlinkSync(join(path, '..data'))).toBe(before)
  world.configMaps.set('m', { data: { a: '1', b: 'three' } })
  world.changed('ConfigMap', 'm')
  await vi.waitFor(() => expect(readFileSync(join(path, 'deep/er/b.txt'), 'utf8')).toBe('three'), { timeout: 20_000 })
  await vi.waitFor(() => expect(readdirSync(path).filter((name) => name.startsWith('..'))).toHaveLength(2), {
    timeout: 20_000,
  })
  expect(await world.mountsBelow()).toEqual([])
})

test('what another volume is mounted on in a read-only one is made there, and stays when the files change', async () => {
  world.configMaps.set('m', { data: { a: '1', b: '2' } })
  const paths = {
    v: '/etc/v',
    deep: '/etc/v/deep/er/',
    inner: '/etc/v/deep/er/inner',
    file: '/etc/v/a',
    beside: '/etc/vw',
  }
  const [volume, ...others] = Object.keys(paths).map((name) => ({ name, emptyDir: {} })) as [Volume, ...Volume[]]
  const items = ['a', 'b'].map((key) => ({ key, path: key === 'a' ? 'a' : 'sub/b' }))
  const volumeMounts = [
    ...Object.entries(paths).map(([name, mountPath]) => ({ name, mountPath })),
    { name: 'deep', mountPath: '/etc/v/sub/in' },
    { name: volume.name, mountPath: '/part', subPath: 'sub' },
    { name: 'deep', mountPath: '/part/of' },
    { name: volume.name, mountPath: 'data/../relative' },
    { name: 'deep', mountPath: '/relative/x' },
  ]
  const configMap = { name: volume.name, configMap: { name: 'm', items } }
  const mountAll = async (): Promise<string> =>
    (await world.manager.mount(podWith([configMap, ...others], {}, { volumeMounts }))).get(volume.name) ?? ''
  const path = await mountAll()
  // As a runtime makes them where it may write.
  mkdirSync(join(path, 'left'))
  const names = (at = '.'): string[] => readdirSync(join(path, at)).filter((name) => !name.startsWith('..'))
  const all = [['a', 'deep', 'left', 'sub', 'x'], ['er'], [], ['b', 'in', 'of']]
  const shown = (): string[][] => [names(), names('deep'), names('deep/er'), names('sub')]
  expect(shown()).toEqual(all)
  expect([readlinkSync(join(path, 'a')), modeOf(join(path, 'deep'))]).toEqual(['..data/a', '755'])
  world.configMaps.set('m', { data: { a: '3', b: '2' } })
  await mountAll()
  all[0] = ['a', 'deep', 'sub', 'x']
  expect([shown(), readFileSync(join(path, 'a'), 'utf8')]).toEqual([all, '3'])
})

test('names that left the configMap leave the folder; what a killed writer left goes too', async () => {
  world.configMaps.set('m', { data: { a: '1', b: '2' } })
  const path = await mountOne({ name: 'v', configMap: { name: 'm' } })
  mkdirSync(join(path, '..2020_01_01_00_00_00.123'))
  writeFileSync(join(path, '..data_tmp'), '')
  world.configMaps.set('m', { data: { b: '2' } })
  await mountOne({ name: 'v', configMap: { name: 'm' } })
  expect(readdirSync(path)).toEqual([readlinkSync(join(path, '..data')), '..data', 'b'].toSorted())
})

test('secret: on tmpfs, group readable with fsGroup', async () => {
  world.secrets.set('s', { data: { key: base64('hidden') } })
  const volume = { name: 'v', secret: { secretName: 's', defaultMode: 0o400 } }
  const path = await mountOne(volume, { securityContext: { fsGroup: 77 } })
  expect(readFileSync(join(path, 'key'), 'utf8')).toBe('hidden')
  expect([statSync(join(path, 'key')).gid, modeOf(join(path, 'key'))]).toEqual([77, '440'])
  expect([statSync(path).gid, modeOf(path)]).toEqual([77, '2777'])
  expect(await world.mountsBelow()).toEqual([path])
  const generation = readlinkSync(join(path, '..data'))
  await mountOne(volume, { securityContext: { fsGroup: 77 } })
  expect(readlinkSync(join(path, '..data'))).toBe(generation)
})

test.each<[Volume, string]>([
  [{ name: 'v', configMap: { name: 'none' } }, 'configmap "none" not found'],
  [{ name: 'v', secret: { secretName: 'none' } }, 'secret "none" not found'],
  [
    { name: 'v', configMap: { name: 'm', items: [{ key: 'x', path: 'x' }] } },
    'configmap references non-existent config key: x',
  ],
  [
    { name: 'v', secret: { secretName: 's', items: [{ key: 'x', path: 'x' }] } },
    'references non-existent secret key: x',
  ],
  [
    { name: 'v', configMap: { name: 'm', items: [{ key: 'a', path: '../x' }] } },
    "invalid path: must not contain '..': ../x",
  ],
  [{ name: 'v', hostPath: { path: '/nowhere', type: 'File' } }, 'hostPath type check failed: /nowhere is not a file'],
])('%j cannot be set up', async (volume, reason) => {
  world.configMaps.set('m', { data: { a: '1' } })
  world.secrets.set('s', {})
  const failure = mountOne(volume)
  await expect(failure).rejects.toThrow(`MountVolume.SetUp failed for volume "v" : ${reason}`)
  await expect(failure).rejects.toHaveProperty('volume', 'v')
})

test('what keeps a running pod from what a volume should show is told; its files stay', async () => {
  const tell = vi.fn<NonNullable<VolumeManagerOptions['tell']>>()
  const manager = world.newManager({ tell })
  world.configMaps.set('m', { data: { a: '1' } })
  const pod = podWith([{ name: 'v', configMap: { name: 'm' } }])
  const path = (await manager.mount(pod)).get('v') ?? ''
  expect(tell).not.toHaveBeenCalled()
  world.configMaps.delete('m')
  world.changed('ConfigMap', 'm')
  const message = 'MountVolume.SetUp failed for volume "v" : configmap "m" not found'
  const event = { type: 'Warning', reason: 'FailedMount', message }
  await vi.waitFor(() => expect(tell).toHaveBeenCalledWith(pod, event), { timeout: 60_000 })
  expect(readFileSync(join(path, 'a'), 'utf8')).toBe('1')
})

test('optional objects and keys may be missing', async () => {
  world.configMaps.set('m', { data: { a: '1' } })
  const optional = true
  const volumes = [
    { name: 'one', configMap: { name: 'none', optional } },
    { name: 'two', secret: { secretName: 'none', optional } },
    { name: 'three', configMap: { name: 'm', optional, items: [{ key: 'x', path: 'x' }] } },
  ]
  const paths = await world.manager.mount(podWith(volumes))
  for (const path of paths.values()) expect(readdirSync(path).filter((name) => !name.startsWith('..'))).toEqual([])
  world.configMaps.set('none', { data: { late: '!' } })
  world.changed('ConfigMap', 'none')
  await vi.waitFor(() => expect(readFileSync(join(paths.get('one') ?? '', 'late'), 'utf8')).toBe('!'), {
    timeout: 20_000,
  })
})

const access: Volume = {
  name: 'kube-api-access-x',
  projected: {
    sources: [
      { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
    ],
  },
}

test('projected: token, ca and namespace in one tmpfs', async () => {
  world.configMaps.set('kube-root-ca.crt', { data: { 'ca.crt': 'CA' } })
  const path = await mountOne(access)
  const read = (name: string): string => readFileSync(join(path, name), 'utf8')
  expect([read('token'), read('ca.crt'), read('namespace')]).toEqual(['n/sa #1', 'CA', 'n'])
  expect(modeOf(join(path, 'token'))).toBe('644')
  await mountOne(access)
  expect(world.tokensGiven).toEqual([{ audiences: [], bound: 'uid-1' }])
  await world.manager.unmount('uid-1')
  expect(await world.mountsBelow()).toEqual([])
})

test('a token belongs to the one user of the pod, and to its group', async () => {
  world.configMaps.set('kube-root-ca.crt', { data: { 'ca.crt': 'CA' } })
  const path = await mountOne(access, { securityContext: { runAsUser: 1234 } })
  const token = join(path, 'token')
  expect([statSync(token).uid, modeOf(token)]).toEqual([1234, '600'])
  await mountOne(access, { securityContext: { fsGroup: 55 } })
  expect([statSync(token).uid, statSync(token).gid, modeOf(token)]).toEqual([0, 55, '640'])
})

test('a token is renewed before it ends; while none is given the old one stays', async () => {
  world.configMaps.set('kube-root-ca.crt', { data: { 'ca.crt': 'CA' } })
  world.tokenLife = 600
  const path = await mountOne(access)
  const read = (): string => readFileSync(join(path, 'token'), 'utf8')
  await vi.waitFor(() => expect(read()).toBe('n/sa #2'), { timeout: 20_000 })
  world.tokensRefused = true
  await new Promise((resolve) => setTimeout(resolve, 560))
  expect(read()).toBe('n/sa #2')
})

test('downwardAPI follows the labels of the pod', async () => {
  const volume = { name: 'v', downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } }
  const pod = podWith([volume])
  const path = (await world.manager.mount(pod)).get('v') ?? ''
  expect(readFileSync(join(path, 'labels'), 'utf8')).toBe('app="web"')
  await world.manager.mount({ ...pod, metadata: { ...pod.metadata, labels: { app: 'db' } } })
  expect(readFileSync(join(path, 'labels'), 'utf8')).toBe('app="db"')
})

test('hostPath: checked and made by type, and never removed', async () => {
  const at = (name: string): string => join(world.rootDir, 'host', name)
  mkdirSync(at('folder'), { recursive: true })
  const server = createServer().listen(at('socket'))
  await new Promise((resolve) => server.once('listening', resolve))
  try {
    const fine: [string, string][] = [
      ['folder', 'Directory'],
      ['new/folder', 'DirectoryOrCreate'],
      ['file', 'FileOrCreate'],
      ['file', 'File'],
      ['socket', 'Socket'],
      ['nothing', ''],
    ]
    for (const [name, type] of fine) {
      expect(await mountOne({ name: 'v', hostPath: { path: at(name), type } })).toBe(at(name))
    }
    expect([modeOf(at('new/folder')), modeOf(at('file'))]).toEqual(['755', '644'])
    expect(await mountOne({ name: 'v', hostPath: { path: '/dev/null', type: 'CharDevice' } })).toBe('/dev/null')
    const bad: [string, string, string][] = [
      ['file', 'DirectoryOrCreate', 'a directory'],
      ['folder', 'FileOrCreate', 'a file'],
      ['file', 'Socket', 'a socket file'],
      ['file', 'CharDevice', 'a character device'],
      ['file', 'BlockDevice', 'a block device'],
    ]
    for (const [name, type, noun] of bad) {
      await expect(mountOne({ name: 'v', hostPath: { path: at(name), type } })).rejects.toThrow(
        `hostPath type check failed: ${at(name)} is not ${noun}`,
      )
    }
    await expect(mountOne({ name: 'v', hostPath: { path: at('no/file'), type: 'FileOrCreate' } })).rejects.toThrow(
      'ENOENT',
    )
    await world.manager.unmount('uid-1')
    expect(readdirSync(at(''))).toContain('file')
  } finally {
    server.close()
  }
})

test('a mount that someone made in a volume is unmounted, and nothing in it is removed', async () => {
  const path = await mountOne({ name: 'v', emptyDir: {} })
  const outside = join(world.rootDir, 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'precious'), '')
  mkdirSync(join(path, 'inside'))
  mount({ source: outside, target: join(path, 'inside'), options: ['bind'] })
  await world.manager.unmount('uid-1')
  expect(readdirSync(outside)).toEqual(['precious'])
  expect(await world.mountsBelow()).toEqual([])
})

test('what containers make of an emptyDir that is a group’s is theirs, also for the next process', async () => {
  const kinds = [{}, { medium: 'Memory' }, { medium: 'HugePages' }]
  const volumes = kinds.map((emptyDir, index) => ({ name: `v${index}`, emptyDir }))
  const limits = { 'hugepages-2Mi': '4Mi', memory: '64Mi' }
  const pod = podWith(volumes, { securityContext: { fsGroup: 4321 } }, { resources: { limits } })
  const paths = [...(await world.manager.mount(pod)).values()]
  expect(paths.map((path) => [statSync(path).gid, modeOf(path)])).toEqual(kinds.map(() => [4321, '2777']))
  for (const path of paths) {
    writeFileSync(join(path, 'key'), '', { mode: 0o600 })
    chmodSync(path, 0o700)
  }
  await world.newManager().mount(pod)
  expect(paths.map((path) => [modeOf(path), modeOf(join(path, 'key'))])).toEqual(kinds.map(() => ['700', '600']))
})

test('an emptyDir is there with its mode, or not at all, when its maker is killed at any moment', async () => {
  const folder = join(world.rootDir, 'made')
  const endlessMaker = `
    import { makeVolumeFolder } from ${JSON.stringify(new URL('../src/volume/volume-folder.ts', import.meta.url).href)}
    for (let turn = 0; ; turn += 1) {
      await makeVolumeFolder(process.argv[1] + '/v' + turn, 0o777, 4321)
      if (turn === 0) console.log('making')
    }`
  const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', endlessMaker]
  for (let round = 0; round < 8; round += 1) {
    const at = join(folder, String(round))
    const maker = spawn(process.execPath, [...args, at], { stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = once(maker, 'close')
    await once(maker.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
    maker.kill('SIGKILL')
    await closed
    const made = readdirSync(at).filter((name) => !name.endsWith('.making~'))
    const facts = made.map((name) => `${statSync(join(at, name)).gid} ${modeOf(join(at, name))}`)
    expect([...new Set(facts)]).toEqual(['4321 2777'])
  }
})

test('no volume is made through a link that a container has put in the place of a folder of its pod', async () => {
  world.configMaps.set('m', { data: {} })
  const others = join(world.rootDir, 'others/v')
  mkdirSync(others, { recursive: true })
  writeFileSync(join(others, 'precious'), '')
  const places = ['volumes', 'volumes/kubernetes.io~configmap', 'volumes/kubernetes.io~configmap/v']
  for (const [index, place] of places.entries()) {
    const uid = `uid-${index}`
    const link = join(world.rootDir, 'pods', uid, place)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(index < 2 ? dirname(others) : others, link)
    const pod = podWith([{ name: 'v', configMap: { name: 'm' } }])
    await expect(world.manager.mount({ ...pod, metadata: { ...pod.metadata, uid } })).rejects.toThrow(
      `${link} is a link, which is not followed`,
    )
  }
  expect([readdirSync(dirname(others)), readdirSync(others)]).toEqual([['v'], ['precious']])
})

test('what a pod of the Go kubelet has beside its volumes goes with them; on a mount of others nothing does', async () => {
  const at = (uid: string, name = ''): string => join(world.rootDir, 'pods', uid, name)
  for (const name of ['plugins/kubernetes.io~empty-dir/wrapped_v', 'volumes/kubernetes.io~empty-dir/v', 'containers/c'])
    mkdirSync(at('go', name), { recursive: true })
  writeFileSync(at('go', 'plugins/kubernetes.io~empty-dir/wrapped_v/ready'), '')
  for (const uid of ['kept', 'covered']) mkdirSync(at(uid, 'containers/c'), { recursive: true })
  writeFileSync(at('kept', 'containers/c/precious'), '')
  mount({ source: at('kept'), target: at('covered'), options: ['bind'] })
  const services = { volumes: world.manager, node: { rootDir: world.rootDir } } as never
  // It is held: the mount stays.
  const { open } = await import('node:fs/promises')
  const held = await open(at('covered', 'containers/c/precious'))
  const isKept = (uid: string): boolean => uid === 'kept'
  await expect(removeGonePods(services, isKept)).rejects.toThrow('what is left of pods that are gone')
  expect(readdirSync(at('kept', 'containers/c'))).toEqual(['precious'])
  await held.close()
  await removeGonePods(services, isKept)
  expect([readdirSync(at('')), readdirSync(at('kept', 'containers/c'))]).toEqual([['kept'], ['precious']])
})

test('a file in the place of a folder of a pod is counted for nothing, and stays', async () => {
  const files = [
    'pods/core.1',
    'pods/uid-1/volumes',
    'pods/uid-2/volumeDevices',
    'pods/uid-3/volumes/kubernetes.io~csi',
  ]
  for (const name of files) {
    mkdirSync(join(world.rootDir, name, '..'), { recursive: true })
    writeFileSync(join(world.rootDir, name), 'x')
  }
  expect(await findVolumes(world.rootDir, [])).toEqual({ all: 0, lost: 0 })
  await expect(world.manager.removeOrphans(() => false)).rejects.toThrow('volumes of pods that are gone')
  expect(files.filter((name) => !existsSync(join(world.rootDir, name)))).toEqual([])
})

test('a volume in use stays whole, and the next try removes it', async () => {
  const path = await mountOne({ name: 'v', emptyDir: { medium: 'Memory' } })
  const { open } = await import('node:fs/promises')
  const held = await open(join(path, 'file'), 'w')
  await expect(world.manager.unmount('uid-1')).rejects.toThrow(`EBUSY: umount2 ${path}`)
  expect(readdirSync(path)).toEqual(['file'])
  await held.close()
  await world.manager.unmount('uid-1')
  expect(readdirSync(join(world.rootDir, 'pods'))).toEqual([])
})

test('orphans go by what is on disk, also those half removed; other pods stay', async () => {
  world.secrets.set('s', { data: { key: base64('x') } })
  const path = await mountOne({ name: 'v', secret: { secretName: 's' } })
  mkdirSync(join(world.rootDir, 'pods/uid-2/volumes/kubernetes.io~empty-dir/w.deleting~/x'), { recursive: true })
  const swept: [removed: number, failed: number][] = []
  const manager = world.newManager({ swept: (...counts) => void swept.push(counts) })
  await manager.removeOrphans((uid) => uid === 'uid-1')
  expect(readdirSync(join(world.rootDir, 'pods'))).toEqual(['uid-1'])
  expect(await world.mountsBelow()).toEqual([path])
  const { open } = await import('node:fs/promises')
  const held = await open(join(path, 'key'))
  await expect(manager.removeOrphans(() => false)).rejects.toThrow('volumes of pods that are gone')
  await held.close()
  expect(swept).toEqual([
    [1, 0],
    [0, 1],
  ])
  mkdirSync(join(world.rootDir, 'pods/lost+found'))
  await world.newManager().removeOrphans(() => false)
  expect(readdirSync(join(world.rootDir, 'pods'))).toEqual(['lost+found'])
})

test('files of an object whose changes nobody tells are looked at again by and by', async () => {
  await world.end()
  world = newWorld(100)
  world.configMaps.set('c', { data: { key: 'old' } })
  const path = await mountOne({ name: 'v', configMap: { name: 'c' } })
  world.configMaps.set('c', { data: { key: 'new' } })
  expect(readFileSync(join(path, 'key'), 'utf8')).toBe('old')
  await expect.poll(() => readFileSync(join(path, 'key'), 'utf8')).toBe('new')
})

test('what keeps a pod from its volumes is told of all of them; those that can be made are', async () => {
  const claimed = (name: string): Volume => ({ name, persistentVolumeClaim: { claimName: name } })
  const volumes: Volume[] = [
    claimed('v2'),
    claimed('v1'),
    { name: 'disk', emptyDir: {} },
    { name: 'c', configMap: { name: 'none' } },
    { name: 's', secret: { secretName: 'none' } },
  ]
  const error = await world.manager.mount(podWith(volumes)).catch((one: unknown) => one as VolumeError)
  const reason = 'this kubelet has no API server'
  expect(error).toMatchObject({
    message: `Unable to attach or mount volumes: unmounted volumes=[c s v1 v2], unattached volumes=[], failed to process volumes=[v1 v2]: ${reason}; ${reason}`,
    others: [
      { message: 'MountVolume.SetUp failed for volume "c" : configmap "none" not found' },
      { message: 'MountVolume.SetUp failed for volume "s" : secret "none" not found' },
    ],
  })
  expect(readdirSync(join(world.rootDir, 'pods/uid-1/volumes'))).toEqual(['kubernetes.io~empty-dir'])
})

test('a volume whose driver nobody knows is unmounted by force, and that is told', async () => {
  const path = join(world.rootDir, 'pods/uid-1/volumes/kubernetes.io~csi/pv/mount')
  mkdirSync(path, { recursive: true })
  mount({ source: 'lost', target: path, type: 'tmpfs' })
  expect(await findVolumes(world.rootDir, [])).toEqual({ all: 1, lost: 1 })
  const known = { driver: 'd', volumeHandle: 'h', specName: 'pv', podUid: 'uid-1' }
  expect(await findVolumes(world.rootDir, [known])).toEqual({ all: 1, lost: 0 })
  const forced: boolean[] = []
  const manager = world.newManager({ forced: (success) => forced.push(success) })
  writeFileSync(join(path, '../file'), 'not ours')
  const failure = await manager.removeOrphans(() => false).catch((error: unknown) => error as AggregateError)
  expect(failure?.errors).toMatchObject([
    { message: expect.stringContaining('orphaned pod "uid-1" found, but volume paths are still present on disk: ') },
  ])
  rmSync(join(path, '../file'))
  const device = join(world.rootDir, 'plugins/kubernetes.io/csi/volumeDevices/pv/publish/uid-1')
  const link = join(world.rootDir, 'pods/uid-1/volumeDevices/kubernetes.io~csi/pv')
  mkdirSync(dirname(link), { recursive: true })
  symlinkSync(device, link)
  await manager.unmount('uid-1')
  expect([forced, await world.mountsBelow()]).toEqual([[false, true, true], []])
  expect(readdirSync(join(world.rootDir, 'pods'))).toEqual([])
})

test('a pod’s wait for a volume is told once, from when it first wanted it', async () => {
  const told: string[] = []
  const manager = world.newManager({ mounted: (plugin, seconds) => told.push(`${plugin} ${seconds >= 0}`) })
  const pod = podWith([{ name: 'c', configMap: { name: 'late' } }])
  await expect(manager.mount(pod)).rejects.toThrow('not found')
  world.configMaps.set('late', { data: {} })
  await manager.mount(pod)
  await manager.mount(pod)
  expect(told).toEqual(['kubernetes.io/configmap true'])
})

test('volumes that no controller attaches are told of together, in the end', async () => {
  let nowMs = 0
  const calls: (() => void)[] = []
  const clock = { now: () => nowMs, after: (_ms: number, call: () => void) => (calls.push(call), () => {}) }
  const names = ['v1', 'v2']
  const objects: StorageObjects = {
    ...noStorageObjects,
    claim: async (namespace, name) => ({
      metadata: { name, namespace, uid: name },
      spec: { volumeName: name },
      status: { phase: 'Bound' },
    }),
    volume: async (name) => ({
      metadata: { name },
      spec: { claimRef: { uid: name }, csi: { driver: 'd', volumeHandle: name } },
    }),
    driver: async () => undefined,
  }
  const csi = await createCsiVolumes({
    rootDir: world.rootDir,
    nodeName: 'node',
    drivers: createCsiDrivers(),
    objects: { secret: async () => ({}), token: async () => ({ token: '', expirationTimestamp: '' }) },
  })
  const attachments = createAttachments({
    nodeName: 'node',
    objects,
    node: () => undefined,
    inUse: () => [],
    changed: () => {},
    clock,
  })
  const work: string[] = []
  const worked = ({ plugin, operation, success }: VolumeWork): void =>
    void work.push(`${plugin} ${operation} ${success}`)
  const storage = { objects, csi, attachments, worked, node: () => undefined, tell: () => {}, clock } as never
  const manager = world.newManager({ storage })
  const volumes = names.map((name) => ({ name, persistentVolumeClaim: { claimName: name } }))
  const mounting = expect(manager.mount(podWith([...volumes, { name: 'disk', emptyDir: {} }]))).rejects.toMatchObject({
    message:
      'Unable to attach or mount volumes: unmounted volumes=[v1 v2], unattached volumes=[v1 v2], failed to process volumes=[]: timed out waiting for the condition',
    others: [],
  })
  const states = () => [calls.length, manager.counts?.().map(({ ready }) => ready)]
  await expect.poll(states).toEqual([2, [false, false, true]])
  nowMs += 200_000
  for (const call of calls) {
    call()
    await new Promise((resolve) => setImmediate(resolve)) // as between timers
  }
  await mounting
  expect(work).toEqual(['kubernetes.io/csi:d verify_controller_attached_volume false'])
  expect(attachments.volumesInUse()).toEqual(names.map((name) => `kubernetes.io/csi/d^${name}`))
})
