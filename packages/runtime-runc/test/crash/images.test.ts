// A daemon that is killed while it pulls or removes an image, or has no space for one.
import { mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ImageSpec } from '@nodelet/cri-api'
import { mount, unmount } from '@nodelet/linux'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { crashPoints } from '../../src/crash-points.ts'
import { makeImage } from '../registry.ts'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

let daemon: Daemon
let spec: ImageSpec
/** The machine without the image. */
let without: string[]
beforeAll(async () => {
  daemon = await makeDaemon({}, (folder, undo) => {
    const target = join(folder, 'images')
    mkdirSync(target)
    mount({ source: 'tmpfs', target, type: 'tmpfs', options: ['size=24m'] })
    undo.defer(() => unmount(target, { detach: true }))
  })
  spec = ImageSpec.fromPartial({ image: `${daemon.registry.host}/apps/three:1` })
  const layers = [
    [
      { name: 'bin/', type: 'directory' as const, mode: 0o755 },
      { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
      { name: 'bin/sh', type: 'symlink' as const, linkname: 'busybox' },
      { name: 'bin/sleep', type: 'symlink' as const, linkname: 'busybox' },
      { name: 'gone', content: 'x' },
    ],
    [{ name: 'random', content: randomBytes(2 << 20) }, { name: '.wh.gone' }],
    [{ name: 'last', content: 'last' }],
  ]
  // What is made once for all stays out of the comparison.
  const first = await daemon.runPod()
  await daemon.run(first, 'true')
  await daemon.runtime.removePodSandbox({ podSandboxId: first })
  await daemon.registry.push('apps/three:1', await makeImage(layers, { Env: ['PATH=/bin'] }))
})
afterAll(async () => daemon[Symbol.asyncDispose]())
beforeEach(async () => {
  await remove()
  without = await daemon.state()
})

const pull = async (): Promise<unknown> =>
  daemon.client.imageService.pullImage({ image: spec, auth: undefined, sandboxConfig: undefined })
const remove = async (): Promise<unknown> => daemon.client.imageService.removeImage({ image: spec })
const status = async () => (await daemon.client.imageService.imageStatus({ image: spec, verbose: false })).image

/** It is whole, runs, and goes without a trace. */
async function expectWhole(): Promise<void> {
  const pod = await daemon.runPod()
  const id = await daemon.run(pod, 'sleep 600', { image: spec })
  const script = 'cat /last; test -e /gone || echo " gone"; wc -c < /random'
  expect(await daemon.exec(id, script.replaceAll(/\b(cat|wc)\b/g, 'busybox $1'))).toBe(`last gone\n${2 << 20}`)
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  await remove()
  await daemon.expectState(without)
}

const points = crashPoints.filter((point) => point.startsWith('image/'))
const ofRemoval = new Set<string>([
  'image/forgotten',
  'image/layer-forgotten',
  'image/layer-removed',
  'image/blob-removed',
])
const ofPull = points.filter((point) => !ofRemoval.has(point))

test.each([...ofPull, 'image/blob-partial#5', 'image/blob-stored#3', 'image/layer-unpacked#3', 'image/layer-stored#2'])(
  'a pull that dies at %s leaves nothing but what the next goes on with',
  async (point) => {
    await daemon.dieAt(point, pull)
    if (await status()) expect(point).toBe('image/recorded')
    else {
      await expect
        .poll(async () =>
          (await daemon.state()).filter((line) => !without.includes(line) && !/\/incoming\//.test(line)),
        )
        .toEqual([])
    }
    await pull()
    expect(readdirSync(join(daemon.folder, 'images/incoming'))).toEqual([])
    await expectWhole()
  },
)

test.each([...ofRemoval, 'image/layer-removed#2', 'image/blob-removed#3'])(
  'a removal that dies at %s is finished by the next start',
  async (point) => {
    await pull()
    await daemon.dieAt(point, remove)
    expect(await status()).toBeUndefined()
    await daemon.expectState(without)
    await pull()
    await expectWhole()
  },
)

test('an image of a container that is removed as the daemon dies keeps its layers until the container is gone', async () => {
  await pull()
  const pod = await daemon.runPod()
  const id = await daemon.run(pod, 'sleep 600', { image: spec })
  await daemon.dieAt('image/forgotten', remove)
  expect(await daemon.exec(id, 'busybox cat /last')).toBe('last')
  await daemon.runtime.removePodSandbox({ podSandboxId: pod })
  await daemon.expectState(without)
})

const filler = (): string => join(daemon.folder, 'images/filler')
test.each([
  ['its blobs', 1 << 20, /ENOSPC/],
  ['its layers', 5 << 20, /failed to unpack layer .*ENOSPC.*free space on the disk of the images/],
])(
  'a disk without space for %s: the pull says so, leaves nothing, and works when there is space',
  async (_, left, told) => {
    const { bavail, bsize } = statfsSync(join(daemon.folder, 'images'))
    writeFileSync(filler(), Buffer.alloc(bavail * bsize - left))
    try {
      await expect(pull()).rejects.toThrow(told)
      await expect(pull()).rejects.toThrow(told)
      expect(await status()).toBeUndefined()
    } finally {
      rmSync(filler(), { force: true })
    }
    await expect
      .poll(async () => (await daemon.state()).filter((line) => !without.includes(line) && !/\/incoming\//.test(line)))
      .toEqual([])
    await pull()
    await expectWhole()
  },
)
