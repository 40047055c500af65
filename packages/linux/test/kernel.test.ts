import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  inNamespace,
  isNamespacePinned,
  mount,
  parseMountInfo,
  pinNamespaces,
  readMountInfo,
  unmount,
  unmountIfMounted,
  unpinNamespace,
} from '../src/index.ts'

let folder: string
const at = (name: string) => join(folder, name)
const mountsBelow = async () => (await readMountInfo()).filter(({ mountPoint }) => mountPoint.startsWith(folder))

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet linux-'))
})

afterEach(async () => {
  for (const { mountPoint } of (await mountsBelow()).toReversed()) unmount(mountPoint, { detach: true })
  rmSync(folder, { recursive: true })
})

test('mounts a tmpfs with flags and data, and unmounts it', async () => {
  mount({ source: 'tmpfs', target: folder, type: 'tmpfs', options: ['nosuid', 'nodev', 'size=1m'] })
  expect(await mountsBelow()).toMatchObject([
    {
      mountPoint: folder,
      type: 'tmpfs',
      options: expect.arrayContaining(['nosuid', 'nodev']),
      superOptions: expect.arrayContaining(['size=1024k']),
    },
  ])
  unmount(folder)
  expect(await mountsBelow()).toEqual([])
})

test('mounts are found at and below a path, whatever its name', async () => {
  for (const name of ['a', 'a/tab\tand\\', 'ab']) {
    mkdirSync(at(name))
    mount({ source: 'tmpfs', target: at(name), type: 'tmpfs' })
    if (name === 'a') mkdirSync(at('a/in'))
  }
  const below = async (path: string) =>
    (await readMountInfo('self', { below: path })).map(({ mountPoint }) => mountPoint)
  expect(await below(at('a'))).toEqual([at('a'), at('a/tab\tand\\')])
  expect(await below(at('a/tab\tand\\'))).toEqual([at('a/tab\tand\\')])
  expect(await below(folder)).toHaveLength(3)
  expect(await below(at('a/in'))).toEqual([])
})

test('a read-only bind refuses writes', () => {
  mkdirSync(at('from'))
  mkdirSync(at('to'))
  writeFileSync(at('from/file'), 'x')
  mount({ source: at('from'), target: at('to'), options: ['bind'] })
  mount({ source: 'none', target: at('to'), options: ['remount', 'bind', 'ro'] })
  expect(readdirSync(at('to'))).toEqual(['file'])
  expect(() => writeFileSync(at('to/other'), '')).toThrow('EROFS')
})

test('errors name errno, call and path', () => {
  expect(() => unmount(at('nowhere'))).toThrow(`ENOENT: umount2 ${at('nowhere')}`)
  expect(() => mount({ source: 'none', target: folder, type: 'nofs' })).toThrow(`ENODEV: mount none on ${folder}`)
  expect(unmountIfMounted(folder)).toBe(false)
})

test('namespaces are pinned, entered, and let go; this process stays where it is', () => {
  const own = { net: readlinkSync('/proc/thread-self/ns/net'), name: hostname() }
  const paths = { net: at('net'), ipc: at('ipc'), uts: at('uts') }
  pinNamespaces({ paths, hostname: 'pod-1' })
  expect(readlinkSync('/proc/thread-self/ns/net')).toBe(own.net)
  expect(hostname()).toBe(own.name)
  expect(Object.values(paths).map(isNamespacePinned)).toEqual([true, true, true])
  expect(inNamespace('uts', paths.uts, hostname)).toBe('pod-1')
  expect(inNamespace('net', paths.net, () => readlinkSync('/proc/thread-self/ns/net'))).not.toBe(own.net)
  expect(() =>
    inNamespace('net', paths.net, () => {
      throw new Error('inside')
    }),
  ).toThrow('inside')
  expect(readlinkSync('/proc/thread-self/ns/net')).toBe(own.net)
  for (const path of Object.values(paths)) unpinNamespace(path)
  expect(readdirSync(folder)).toEqual([])
  unpinNamespace(paths.net)
})

test('a pin that fails half-way leaves nothing', async () => {
  expect(() => pinNamespaces({ paths: { net: at('net'), uts: at('missing/uts') } })).toThrow('ENOENT')
  expect(readdirSync(folder)).toEqual([])
  expect(await mountsBelow()).toEqual([])
})

test('reads escapes and optional fields of mountinfo', () => {
  const line = String.raw`36 35 98:0 /mnt1 /a\040b\134c rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue`
  expect(parseMountInfo(`${line}\n`)).toEqual([
    {
      id: 36,
      parentId: 35,
      major: 98,
      minor: 0,
      root: '/mnt1',
      mountPoint: String.raw`/a b\c`,
      options: ['rw', 'noatime'],
      optionalFields: ['master:1', 'shared:2'],
      type: 'ext3',
      source: '/dev/root',
      superOptions: ['rw', 'errors=continue'],
    },
  ])
  expect(() => parseMountInfo('nonsense')).toThrow('not a line of mountinfo: "nonsense"')
})
