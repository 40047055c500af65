import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ImageService, RuntimeService } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig, readConfig } from '../src/command/config.ts'
import { parseDuration } from '../src/command/duration.ts'
import { createGate } from '../src/command/gate.ts'

test('nothing said is the default of everything', () => {
  expect(parseConfig({}, 'flags')).toEqual({
    root: '/var/lib/nodelet',
    deviceOwnershipFromSecurityContext: false,
    enableSelinux: false,
    cdiSpecDirs: ['/etc/cdi', '/var/run/cdi'],
    run: '/run/nodelet',
    listen: '/run/nodelet/runtime.sock',
    cni: { confDir: '/etc/cni/net.d', binDirs: ['/opt/cni/bin'], inProcess: true, pluginPackages: [] },
    cgroupParent: '/nodelet',
    streamServerAddress: '127.0.0.1',
    streamServerPort: 0,
    streamIdleTimeout: 14_400_000,
    pinnedImages: [],
    registry: { configPath: '/etc/containerd/certs.d' },
    maxConcurrentDownloads: 3,
    imagePullProgressTimeout: 300_000,
    handlers: { runc: {} },
    defaultHandler: 'runc',
    cgroupDriver: 'cgroupfs',
    logLevel: 'info',
  })
})

test.each<[input: object, message: RegExp]>([
  [{ roots: '/x' }, /^flags:\n {2}roots: there is no such option, is "\/x"$/],
  [{ cni: { bins: ['/x'] } }, /cni\.bins: there is no such option, is \["\/x"\]/],
  [{ cni: { pluginDir: 'here' } }, /cni\.pluginDir: must be an absolute path, is "here"/],
  [{ cni: { pluginPackages: ['a', './b'] } }, /cni\.pluginPackages\.1: must be the name of an npm package, is ".\/b"/],
  [{ cni: { pluginPackages: ['node:fs'] } }, /cni\.pluginPackages\.0: must be the name of an npm package/],
  [{ root: 'here' }, /root: must be an absolute path, is "here"/],
  [{ run: `/${'x'.repeat(34)}` }, /run: must be at most 34 bytes long.* is "\/x/],
  [{ listen: `/${'x'.repeat(107)}` }, /listen: must be at most 107 bytes long/],
  [{ listen: 'unix://relative' }, /listen: must be an absolute path, is "unix:\/\/relative"/],
  [{ streamServerPort: 70_000 }, /streamServerPort: .*65535, is 70000/],
  [{ registry: { configPath: '/a:b' } }, /registry\.configPath: must be absolute paths .*, is "\/a:b"/],
  [{ handlers: {} }, /handlers: must have a handler/],
  [{ handlers: { crun: { pth: '/x' } } }, /handlers\.crun\.pth: there is no such option, is "\/x"/],
  [{ handlers: { Kata: {} } }, /handlers\.Kata: must be lower-case letters/],
  [{ handlers: { crun: {} }, defaultHandler: 'runc' }, /defaultHandler: must be one of the handlers crun, is "runc"/],
  [{ cgroupDriver: 'cgroup' }, /cgroupDriver: .*, is "cgroup"/],
  [{ streamIdleTimeout: 'soon' }, /streamIdleTimeout: must be a span of time such as 90s, 5m or 4h, is "soon"/],
  [{ root: 5, maxConcurrentDownloads: 0 }, /root: .*\n {2}maxConcurrentDownloads: .*, is 0/],
])('%j is refused by name and value', (input, message) => {
  expect(() => parseConfig(input, 'flags')).toThrow(message)
})

test('a file is read, and flags override it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nr-'))
  try {
    const file = join(folder, 'runtime.yaml')
    writeFileSync(file, 'root: /srv/a\nrun: /run/a\ncni:\n  confDir: /srv/net.d\n  inProcess: false\n')
    const config = await readConfig(file, { root: '/srv/b', listen: 'unix:///run/b.sock', cni: { binDirs: ['/bin'] } })
    expect(config).toMatchObject({
      root: '/srv/b',
      run: '/run/a',
      listen: '/run/b.sock',
      cni: { confDir: '/srv/net.d', binDirs: ['/bin'], inProcess: false },
    })
    expect(config.cni.packageDirs).toEqual([folder, process.cwd()])
    writeFileSync(file, 'cni: {pluginPackages: ["@acme/mesh", overlay], packageDirs: [/srv]}')
    expect((await readConfig(file, {})).cni).toMatchObject({
      pluginPackages: ['@acme/mesh', 'overlay'],
      packageDirs: ['/srv'],
    })
    writeFileSync(file, '{"logLevel": "loud"}')
    await expect(readConfig(file, {})).rejects.toThrow(/runtime\.yaml:\n {2}logLevel: .*, is "loud"/)
    writeFileSync(file, 'root: [')
    await expect(readConfig(file, {})).rejects.toThrow(/runtime\.yaml: /)
    writeFileSync(file, '- root')
    await expect(readConfig(file, {})).rejects.toThrow(/runtime\.yaml: must be options by name/)
    writeFileSync(file, '')
    expect((await readConfig(file, {})).root).toBe('/var/lib/nodelet')
    await expect(readConfig(join(folder, 'none'), {})).rejects.toThrow(/none: ENOENT/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.each([
  ['90s', 90_000],
  ['1h30m', 5_400_000],
  ['1.5s', 1500],
  ['250ms', 250],
  ['0', 0],
  ['', undefined],
  ['5', undefined],
  ['5x', undefined],
])('%s is %s ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

test('before recovery is done only Version and Status answer', async () => {
  const gate = createGate({ name: 'nodelet', version: '1.2.3' })
  const version = await gate.runtimeService.version({ version: '' })
  expect(version).toMatchObject({ runtimeName: 'nodelet', runtimeVersion: '1.2.3', runtimeApiVersion: 'v1' })
  const { status } = await gate.runtimeService.status({ verbose: false })
  expect(status?.conditions.map(({ type, status: ready }) => [type, ready])).toEqual([
    ['RuntimeReady', false],
    ['NetworkReady', false],
  ])
  const early = [
    (): unknown => gate.imageService.listImages({ filter: undefined }),
    (): unknown => gate.runtimeService.listContainers({ filter: undefined }),
    (): unknown => gate.runtimeService.getContainerEvents({}),
  ]
  for (const call of early) expect(call).toThrow(/the runtime is starting/)
  const listImages = async (): Promise<{ images: [] }> => ({ images: [] })
  gate.open({ runtimeService: {} as RuntimeService, imageService: { listImages } as unknown as ImageService })
  expect(await gate.imageService.listImages({ filter: undefined })).toEqual({ images: [] })
})

test('the page of the runtime has every option, with its default', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/runtime.md'), 'utf8')
  const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(page) ?? []
  expect(parse(example)).toEqual({
    ...parseConfig({}, 'flags'),
    streamIdleTimeout: '4h',
    imagePullProgressTimeout: '5m',
  })
})
