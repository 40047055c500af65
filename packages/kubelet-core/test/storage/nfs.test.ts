// Folders of a real NFS server, in the guest: cgroup-v2.test.ts.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mount, readMountInfo } from '@nodelet/linux'
import type { Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkAnswers, mayHang, readVolumeApart, unmountApart } from '../../src/storage/apart.ts'
import { setUpNfs } from '../../src/storage/nfs.ts'
import { bindSubPath } from '../../src/volume/sub-path.ts'
import { newWorld, podWith, type World } from '../volume-world.ts'
import { exportFolder, type NfsServer } from './nfs-server.ts'

test.each([
  ['nfs', true],
  ['nfs4', true],
  ['fuse.sshfs', true],
  ['fuse', true],
  ['ceph', true],
  ['fusectl', false],
  ['ext4', false],
  ['tmpfs', false],
])('%s may hang: %s', (type, hangs) => expect(mayHang(type)).toBe(hangs))

describe.runIf(process.env.UML)('with a server', () => {
  let world: World
  let server: NfsServer
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync('/run/export-')
    mount({ source: 'export', target: folder, type: 'tmpfs', options: ['size=8m', 'mode=0755'] })
    mkdirSync(join(folder, 'sub'))
    writeFileSync(join(folder, 'sub/file'), 'text')
    server = exportFolder(folder)
    world = newWorld()
  })
  afterAll(async () => {
    await world?.end()
    server?.[Symbol.dispose]()
  })

  const volume = (name: string, readOnly = false): Volume => ({
    name,
    nfs: { server: '127.0.0.1', path: '/sub', readOnly },
  })
  const plan = { kind: 'nfs', name: 'p', specName: 'p', server: '127.0.0.1', path: '/sub', readOnly: false } as const
  const nfsMounts = async () =>
    (await readMountInfo('self', { below: world.rootDir })).filter(({ type }) => type === 'nfs4')
  const mountAll = async (pod: Pod): Promise<string[]> => {
    const paths = await world.manager.mount(pod)
    return (pod.spec?.volumes ?? []).map(({ name }) => paths.get(name) ?? '')
  }

  test('pods read and write, or only read; a sub path is bound; what is left is what the server has', async () => {
    const pod = podWith([volume('one'), volume('two', true)])
    const [one = '', two = ''] = await mountAll(pod)
    expect(readFileSync(join(two, 'file'), 'utf8')).toBe('text')
    writeFileSync(join(one, 'new'), 'of the pod')
    expect(readFileSync(join(folder, 'sub/new'), 'utf8')).toBe('of the pod')
    expect(() => writeFileSync(join(two, 'other'), '')).toThrow('EROFS')
    expect(await mountAll(pod)).toEqual([one, two])
    expect((await nfsMounts()).length).toBe(2)
    const wanted = { rootDir: world.rootDir, podUid: 'uid-1', container: 'c', volume: 'one', volumePath: one, index: 0 }
    const bound = await bindSubPath({ ...wanted, subPath: 'deep/er' })
    writeFileSync(join(bound, 'file'), '')
    expect(existsSync(join(folder, 'sub/deep/er/file'))).toBe(true)
    writeFileSync(join(folder, 'sub/large'), Buffer.alloc(3 << 20))
    const { bytes, inodes } = await readVolumeApart(one)
    expect(bytes?.total).toBe(8 << 20)
    expect([(bytes?.used ?? 0) >= 3 << 20, (inodes?.used ?? 0) > 0]).toEqual([true, true])
    await world.manager.unmount('uid-1')
    expect([await nfsMounts(), readdirSync(join(world.rootDir, 'pods'))]).toEqual([[], []])
    expect(readdirSync(join(folder, 'sub')).toSorted()).toEqual(['deep', 'file', 'large', 'new'])
  })

  test('options of mount are the kernel’s; a folder that is not there is told as mount tells it', async () => {
    const target = join(world.rootDir, 'pods/uid-1/volumes/kubernetes.io~nfs/p')
    await setUpNfs({ ...plan, mountOptions: ['vers=4.1', 'soft', 'noatime'] }, target, undefined)
    const [found] = await nfsMounts()
    expect(found?.superOptions).toEqual(expect.arrayContaining(['vers=4.1', 'soft']))
    expect(found?.options).toContain('noatime')
    await unmountApart(target)
    await unmountApart(target)
    const none = setUpNfs({ ...plan, path: '/none', mountOptions: [] }, target, undefined)
    await expect(none).rejects.toThrow(
      /^mount failed: exit status 32\nMounting command: mount\nMounting arguments: -t nfs 127\.0\.0\.1:\/none .*\nOutput: .*No such file or directory/s,
    )
    expect(existsSync(target)).toBe(false)
  })

  test('a server that is gone keeps nobody waiting, and its folder is unmounted', async () => {
    const [path = ''] = await mountAll(podWith([volume('one')]))
    let turns = 0
    const counting = setInterval(() => turns++, 10)
    server.stop()
    try {
      const target = join(world.rootDir, 'never')
      const mounting = setUpNfs({ ...plan, mountOptions: [] }, target, AbortSignal.timeout(500))
      await expect(mounting).rejects.toThrow('timeout')
      await expect(checkAnswers(path, 500)).rejects.toThrow(`${path} does not answer`)
      await expect(readVolumeApart(path, AbortSignal.timeout(500))).rejects.toThrow('timeout')
      writeFileSync(join(world.rootDir, 'here'), '') // other files are not held up
      await unmountApart(path, 4_000) // programs start slowly here
      expect([await nfsMounts(), existsSync(target), turns > 20]).toEqual([[], false, true])
      await world.manager.unmount('uid-1')
      expect(readdirSync(join(world.rootDir, 'pods'))).toEqual([])
    } finally {
      clearInterval(counting)
      server.start()
    }
    expect(readFileSync(join(folder, 'sub/file'), 'utf8')).toBe('text')
  })
})
