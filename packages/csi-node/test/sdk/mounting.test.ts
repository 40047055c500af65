// Mounts and targets of drivers, on real mounts.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mount, readMountInfo, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ensureMounted, ensureTarget, ensureUnmounted, isMounted, removeTarget } from '../../src/sdk/index.ts'

let folder: string
const make = (name: string): string => {
  const path = join(folder, name)
  mkdirSync(path)
  return path
}
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'mounting-')))
})
afterEach(async () => {
  for (const { mountPoint } of (await readMountInfo('self', { below: folder })).toReversed()) {
    unmount(mountPoint, { detach: true })
  }
  rmSync(folder, { recursive: true })
})

test('a bind that is made read-only, or given options, keeps what its source’s mount does not allow', async () => {
  const [source, readOnly, silent] = [make('source'), make('read-only'), make('silent')]
  const options = ['nosuid', 'nodev', 'noexec']
  mount({ source: 'disk', target: source, type: 'tmpfs', options: [...options, 'nodiratime'] })
  await ensureMounted({ source, target: readOnly, readOnly: true })
  await ensureMounted({ source, target: silent, options: ['noatime'] })
  const optionsAt = async (target: string): Promise<string[]> =>
    (await readMountInfo('self', { below: target }))[0]?.options ?? []
  expect(await optionsAt(readOnly)).toEqual(expect.arrayContaining([...options, 'ro', 'nodiratime']))
  expect(await optionsAt(silent)).toEqual(expect.arrayContaining([...options, 'noatime']))
})

test('a link that somebody put in the place of a target leads nowhere', async () => {
  const [others, kubelet] = [make('others'), make('kubelet')]
  mount({ source: 'disk', target: others, type: 'tmpfs' })
  writeFileSync(join(others, 'precious'), 'data')
  // The kubelet's own folder may be a link.
  const way = join(folder, 'way')
  symlinkSync(kubelet, way)
  const target = join(way, 'mount')
  symlinkSync(others, target)
  expect(await isMounted(target)).toBe(false)
  await expect(ensureTarget(target, 'folder')).rejects.toThrow(`${target}: it is a link`)
  await expect(ensureTarget(target, 'file')).rejects.toThrow(`${target}: it is a link`)
  await expect(ensureMounted({ source: kubelet, target })).rejects.toThrow(`${target}: it is a link`)
  await ensureUnmounted(target)
  await removeTarget(target)
  expect([readdirSync(others), existsSync(target)]).toEqual([['precious'], false])

  await ensureTarget(target, 'folder')
  await ensureMounted({ source: others, target })
  expect(readdirSync(join(kubelet, 'mount'))).toEqual(['precious'])
  await removeTarget(target)
  expect(readdirSync(kubelet)).toEqual([])
})
