// User namespaces, what belongs to them, and mounts that show files under their ids.
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  finished,
  inNamespace,
  inUserNamespace,
  isNamespacePinned,
  mount,
  mountIdMapped,
  pinOwnedNamespaces,
  readMountInfo,
  sameIdMappings,
  startProgram,
  unmount,
  unpinNamespace,
} from '../src/index.ts'

let folder: string
const at = (name: string): string => join(folder, name)
const mappings = {
  uids: [{ containerId: 0, hostId: 100_000, length: 65_536 }],
  gids: [{ containerId: 0, hostId: 200_000, length: 65_536 }],
}
const owner = (path: string): string => `${statSync(path).uid}:${statSync(path).gid}`

/** Linux 6.3 is needed for those of tmpfs, as a temporary folder may be. */
const [major = 0, minor = 0] = release().split('.').map(Number.parseFloat)
const ifMapped = test.skipIf(major < 6 || (major === 6 && minor < 3))

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-user-'))
})

afterEach(async () => {
  const left = (await readMountInfo()).filter(({ mountPoint }) => mountPoint.startsWith(folder))
  for (const { mountPoint } of left.toReversed()) unmount(mountPoint, { detach: true })
  rmSync(folder, { recursive: true })
})

test('namespaces that belong to a user namespace are pinned, and its root may change them', async () => {
  const paths = { net: at('net'), ipc: at('ipc'), uts: at('uts') }
  await pinOwnedNamespaces({ mappings, user: at('user'), paths, hostname: 'pod-1' })
  expect([at('user'), ...Object.values(paths)].map(isNamespacePinned)).toEqual([true, true, true, true])
  expect(inNamespace('uts', paths.uts, hostname)).toBe('pod-1')
  // The host's root as well may change the network's settings, which are the namespace's.
  const port = '/proc/sys/net/ipv4/ip_unprivileged_port_start'
  inNamespace('net', paths.net, () => writeFileSync(port, '0'))
  const { stdout } = await finished(
    startProgram(
      'nsenter',
      [
        `--user=${at('user')}`,
        `--net=${paths.net}`,
        'sh',
        '-c',
        `ip link set lo up && cat ${port} /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups && id -u`,
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    ),
  )
  expect(stdout.split(/\s+/).filter(Boolean)).toEqual(
    ['0', '0 100000 65536', '0 200000 65536', 'allow', '0'].join(' ').split(' '),
  )
  for (const path of [at('user'), ...Object.values(paths)]) unpinNamespace(path)
  expect(readdirSync(folder)).toEqual([])
})

test('mappings that the kernel refuses are told, and leave nothing', async () => {
  const wrong = { uids: [{ containerId: 0, hostId: 1, length: 0 }], gids: mappings.gids }
  const pinning = pinOwnedNamespaces({ mappings: wrong, user: at('user'), paths: { net: at('net') } })
  await expect(pinning).rejects.toThrow(/^mapping uids .*"length":0.*: EINVAL/)
  await expect(pinOwnedNamespaces({ mappings, user: at('user'), paths: { net: at('missing/net') } })).rejects.toThrow(
    'ENOENT',
  )
  expect(readdirSync(folder)).toEqual([])
})

ifMapped('a folder is shown with the owners of a user namespace, and is written with those of the disk', async () => {
  mkdirSync(at('from'))
  mkdirSync(at('to'))
  writeFileSync(at('from/file'), 'x')
  chownSync(at('from/file'), 5, 6)
  await inUserNamespace(mappings, (userNamespace) =>
    mountIdMapped({ source: at('from'), target: at('to'), userNamespace }),
  )
  expect(owner(at('to/file'))).toBe('100005:200006')
  chownSync(at('to/file'), 100_007, 200_008)
  expect(owner(at('from/file'))).toBe('7:8')
  // The host's root has no name there.
  expect(() => writeFileSync(at('to/new'), '')).toThrow('EOVERFLOW')
  // Binds keep it, also when the first mount is gone.
  mkdirSync(at('again'))
  mount({ source: at('to'), target: at('again'), options: ['bind'] })
  unmount(at('to'))
  expect(owner(at('again/file'))).toBe('100007:200008')
  expect(readFileSync(at('again/file'), 'utf8')).toBe('x')
})

ifMapped('layers of an overlay are shown so without being changed', async () => {
  for (const name of ['layers', 'layers/a', 'layers/b', 'mapped', 'upper', 'work', 'merged']) mkdirSync(at(name))
  writeFileSync(at('layers/a/one'), '1')
  writeFileSync(at('layers/b/two'), '2')
  await inUserNamespace(mappings, (userNamespace) =>
    mountIdMapped({ source: at('layers'), target: at('mapped'), userNamespace }),
  )
  const options = [`lowerdir=${at('mapped/b')}:${at('mapped/a')}`, `upperdir=${at('upper')}`, `workdir=${at('work')}`]
  mount({ source: 'overlay', target: at('merged'), type: 'overlay', options })
  unmount(at('mapped'))
  expect([owner(at('merged/one')), owner(at('merged/two'))]).toEqual(['100000:200000', '100000:200000'])
  chownSync(at('merged/two'), 100_009, 200_009)
  expect([owner(at('upper/two')), owner(at('layers/b/two'))]).toEqual(['100009:200009', '0:0'])
})

ifMapped('with what is mounted below, and read-only; what cannot take part is named', async () => {
  for (const name of ['from', 'to']) mkdirSync(at(name))
  mount({ source: 'tmpfs', target: at('from'), type: 'tmpfs', options: ['size=1m'] })
  mkdirSync(at('from/below'))
  mount({ source: 'tmpfs', target: at('from/below'), type: 'tmpfs', options: ['size=1m'] })
  const whole = (source: string) => (userNamespace: string) =>
    mountIdMapped({ source, target: at('to'), userNamespace, recursive: true, readOnly: true })
  await inUserNamespace(mappings, whole(at('from')))
  expect(owner(at('to/below'))).toBe('100000:200000')
  expect(() => writeFileSync(at('to/below/file'), '')).toThrow('EROFS')
  await expect(inUserNamespace(mappings, whole('/proc'))).rejects.toThrow(
    /^EINVAL: mount_setattr \/proc: this file system, or one mounted below, cannot be id-mapped$/,
  )
})

test('mappings are compared by what they say', () => {
  const other = { ...mappings, gids: [{ containerId: 0, hostId: 200_000, length: 1 }] }
  expect(sameIdMappings(mappings, structuredClone(mappings))).toBe(true)
  expect(sameIdMappings(mappings, other)).toBe(false)
})
