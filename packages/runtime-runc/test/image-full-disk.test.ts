// Pulls onto a disk that is full: a clear error, nothing left, and all works when there is room.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mount, unmount, unmountIfMounted } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { noiseOf } from './noise.ts'
import { makeImage, startRegistry } from './registry.ts'
import type { TestImage, TestRegistry } from './registry.ts'
import { startFront } from './registry-front.ts'
import type { Front } from './registry-front.ts'

const size = 24 * 1024 * 1024
let registry: TestRegistry
let front: Front
let small: TestImage
let folder: string
let root: string
let images: Images
let problems: string[]
let name: string

beforeAll(async () => {
  registry = await startRegistry()
  // Text that packs to little, and noise.
  const zeros = { name: 'zeros', content: '0'.repeat(8_000_000) }
  const image = await makeImage([
    [{ name: 'noise', content: noiseOf(4_000_000) }],
    [zeros],
    [{ name: 'c', content: 'c' }],
  ])
  await registry.push('apps/large:1', image)
  small = await makeImage([[{ name: 'a', content: 'a' }]])
  await registry.push('apps/small:1', small)
})
afterAll(async () => registry[Symbol.asyncDispose]())
beforeEach(async () => {
  front = await startFront(registry.host)
  name = `${front.host}/apps/large:1`
  folder = mkdtempSync(join(tmpdir(), 'nodelet-full-'))
  root = join(folder, 'images')
  mkdirSync(root)
  mount({ source: 'tmpfs', target: root, type: 'tmpfs', options: [`size=${size}`] })
  problems = []
  images = await openImages({ root, onProblem: ({ message }) => problems.push(message) })
  await images.pull(`${front.host}/apps/small:1`)
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  for (const key of readdirSync(join(root, 'rootfs'))) unmountIfMounted(join(root, 'rootfs', key, 'merged'))
  unmount(root, { detach: true })
  rmSync(folder, { recursive: true })
  await front[Symbol.asyncDispose]()
})

const left = (): string[] =>
  ['blobs/sha256', 'incoming', 'images', 'l'].flatMap((at) => readdirSync(join(root, at)).map((one) => join(at, one)))
/** Fills the disk but for so many bytes. */
function fill(free: number): void {
  const { bavail, bsize } = statfsSync(root)
  writeFileSync(join(root, 'filler'), Buffer.alloc(bavail * bsize - free))
}

test.each([
  ['a blob', 1_000_000, /writing blob sha256:\w+: ENOSPC.*: free space on the disk of the images$/],
  ['a layer', 8_000_000, /failed to unpack layer sha256:\w+: .*ENOSPC.*: free space on the disk of the images$/],
])('no room for %s: it is said, nothing of it is left, and it comes when there is room', async (_, free, message) => {
  const before = left()
  fill(free)
  await expect(images.pull(name)).rejects.toThrow(message)
  await expect(images.pull(name)).rejects.toThrow(`failed to pull and unpack image "${name}": `)
  expect(left()).toEqual(before)
  expect(statfsSync(root).bavail * statfsSync(root).bsize).toBe(free - (free % statfsSync(root).bsize))
  // What is here is as before.
  const path = await images.prepareRootfs('small', images.resolve(small.id)?.id ?? '')
  expect(readFileSync(join(path, 'a'), 'utf8')).toBe('a')
  await images.releaseRootfs('small')
  rmSync(join(root, 'filler'))
  const { id } = await images.pull(name)
  expect(readFileSync(join(await images.prepareRootfs('large', id), 'c'), 'utf8')).toBe('c')
  await images.releaseRootfs('large')
  await images.remove(name)
  expect(left()).toEqual(before)
  expect(problems).toEqual([])
})

test('no room for one byte: images can be removed, which makes room', async () => {
  fill(0)
  await expect(images.pull(name)).rejects.toThrow(/ENOSPC.*free space on/)
  await images.remove(small.id)
  expect(left()).toEqual([])
  expect(problems).toEqual([])
  rmSync(join(root, 'filler'))
  await images.pull(name)
})

test('another pull that runs meanwhile keeps what it has', async () => {
  const halted = Promise.withResolvers<() => void>()
  front.meddle = ({ url = '' }, _, pass) => {
    if (small.layers.some((digest) => url.includes(digest))) halted.resolve(pass)
    else pass()
  }
  await images.remove(small.id)
  const running = images.pull(`${front.host}/apps/small:1`)
  const goOn = await halted.promise
  fill(1_000_000)
  await expect(images.pull(name)).rejects.toThrow(/ENOSPC/)
  goOn()
  expect((await running).id).toBe(small.id)
  expect(left()).toHaveLength(small.blobs.size + 3) // and manifest, record, layer
})
