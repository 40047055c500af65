import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mount, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bindSubPath, resolveSubPath } from '../src/index.ts'
import { newWorld, podWith } from './volume-world.ts'
import type { World } from './volume-world.ts'

let world: World
let volumePath: string
beforeEach(async () => {
  world = newWorld()
  volumePath = (await world.manager.mount(podWith([{ name: 'v', emptyDir: {} }]))).get('v') ?? ''
})
afterEach(() => world.end())

const at = (name: string): string => join(volumePath, name)
const bind = (subPath: string, readOnly = false): Promise<string> =>
  bindSubPath({
    rootDir: world.rootDir,
    podUid: 'uid-1',
    container: 'c',
    volume: 'v',
    volumePath,
    subPath,
    index: 3,
    readOnly,
  })

test('a missing folder is made with the permissions of the volume and bound; again changes nothing', async () => {
  const target = await bind('a/b')
  expect(target).toBe(join(world.rootDir, 'pods/uid-1/volume-subpaths/v/c/3'))
  expect((statSync(at('a/b')).mode & 0o7777).toString(8)).toBe('777')
  writeFileSync(join(target, 'file'), 'x')
  expect(readdirSync(at('a/b'))).toEqual(['file'])
  expect(await bind('a/b')).toBe(target)
  expect(await world.mountsBelow()).toEqual([target])
  await world.manager.unmount('uid-1')
  expect(readdirSync(join(world.rootDir, 'pods'))).toEqual([])
})

test('a file is bound; the bind keeps showing it when a link takes its name', async () => {
  writeFileSync(at('file'), 'mine')
  const target = await bind('file')
  renameSync(at('file'), at('moved'))
  symlinkSync('/etc/hostname', at('file'))
  expect(readFileSync(target, 'utf8')).toBe('mine')
  await expect(bind('file')).rejects.toThrow(
    /failed to prepare subPath for volumeMount "v" of container "c": .* not within/,
  )
})

test('another path in the same place replaces the bind', async () => {
  await bind('one')
  const target = await bind('two')
  writeFileSync(at('two/here'), '')
  expect(readdirSync(target)).toEqual(['here'])
  expect(await world.mountsBelow()).toEqual([target])
})

test('a file in the place of a folder, and the other way round, replaces the bind', async () => {
  writeFileSync(join(await bind('x'), 'here'), '')
  for (const turn of ['1', '2']) {
    rmSync(at('x'), { recursive: true })
    writeFileSync(at('x'), turn)
    expect(readFileSync(await bind('x'), 'utf8')).toBe(turn)
    rmSync(at('x'))
    mkdirSync(at(`x/${turn}`), { recursive: true })
    expect(readdirSync(await bind('x'))).toEqual([turn])
  }
  expect(await world.mountsBelow()).toHaveLength(1)
})

test('links within the volume lead on, as those of configMaps do', async () => {
  world.configMaps.set('m', { data: { key: 'value' } })
  const path = (await world.manager.mount(podWith([{ name: 'm', configMap: { name: 'm' } }]))).get('m') ?? ''
  expect(readFileSync(resolveSubPath(path, 'key'), 'utf8')).toBe('value')
})

test('a file of a ConfigMap that changes before its container is made can still be mounted; once bound anew, the old one goes', async () => {
  const pod = podWith(
    [{ name: 'm', configMap: { name: 'm' } }],
    {},
    { volumeMounts: [{ name: 'm', mountPath: '/key', subPath: 'key' }] },
  )
  const show = async (value: string): Promise<string> => {
    world.configMaps.set('m', { data: { key: value } })
    return (await world.manager.mount(pod)).get('m') ?? ''
  }
  const path = await show('one')
  const bindKey = async (): Promise<string> =>
    bindSubPath({
      rootDir: world.rootDir,
      podUid: 'uid-1',
      container: 'c',
      volume: 'm',
      volumePath: path,
      subPath: 'key',
      index: 0,
    })
  const bound = await bindKey()
  await show('two')
  // What a runtime does. The kernel mounts nothing that was removed.
  const elsewhere = join(world.rootDir, 'container')
  writeFileSync(elsewhere, '')
  mount({ source: bound, target: elsewhere, options: ['bind'] })
  expect([readFileSync(elsewhere, 'utf8'), readFileSync(join(path, 'key'), 'utf8')]).toEqual(['one', 'two'])
  expect(readFileSync(await bindKey(), 'utf8')).toBe('two')
  unmount(elsewhere)
  await show('three')
  const generations = readdirSync(path).filter((name) => /^\.\.\d/.test(name))
  expect(generations.map((name) => readFileSync(join(path, name, 'key'), 'utf8')).toSorted()).toEqual(['three', 'two'])
})

test.each([
  ['an absolute link', 'link', '/etc'],
  ['a link upwards', 'link/x', '../..'],
  ['a dangling link', 'link/x', '/etc/nodelet-not-there'],
])('%s does not lead out', async (_, subPath, target) => {
  symlinkSync(target, at('link'))
  await expect(bind(subPath)).rejects.toThrow('failed to prepare subPath')
  expect(await world.mountsBelow()).toEqual([])
})

test.each(['/etc', '../x', 'a/../../x'])('%s is refused', async (subPath) => {
  await expect(bind(subPath)).rejects.toThrow("must be relative and must not contain '..'")
})

test('nothing is made in a read-only mount', async () => {
  mkdirSync(at('a'))
  await expect(bind('a/b', true)).rejects.toThrow('"a/b" is not there')
  expect(readdirSync(at('a'))).toEqual([])
})
