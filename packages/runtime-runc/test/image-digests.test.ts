// Images whose parts have longer digests than usual.
import { createHash } from 'node:crypto'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unmountIfMounted } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { noiseOf } from './noise.ts'
import { indexOf, makeImage, sha256, startRegistry } from './registry.ts'
import type { TestRegistry } from './registry.ts'
import { startFront } from './registry-front.ts'
import type { Front } from './registry-front.ts'

let registry: TestRegistry
let front: Front
let root: string
let images: Images

beforeAll(async () => {
  registry = await startRegistry()
})
afterAll(async () => registry[Symbol.asyncDispose]())
beforeEach(async () => {
  front = await startFront(registry.host)
  root = mkdtempSync(join(tmpdir(), 'nodelet-digests-'))
  images = await openImages({ root })
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  for (const key of readdirSync(join(root, 'rootfs')))
    unmountIfMounted(join(root, 'rootfs', key, 'merged'), { detach: true })
  rmSync(root, { recursive: true })
  await front[Symbol.asyncDispose]()
})

const by =
  (algorithm: string) =>
  (content: Uint8Array): string =>
    `${algorithm}:${createHash(algorithm).update(content).digest('hex')}`
const layers = [[{ name: 'noise', content: noiseOf(300_000) }], [{ name: 'said', content: 'hello' }]]
const left = (): string[] =>
  ['blobs/sha256', 'blobs/sha512', 'incoming', 'l'].flatMap((name) => readdirSync(join(root, name)))

test('sha512 in a real registry: pulled, used, found again, exported, imported and removed', async () => {
  const digestOf = by('sha512')
  const image = await makeImage(layers, { Cmd: ['x'] }, digestOf)
  await registry.push('apps/long:1', image)
  const name = `${registry.host}/apps/long:1`
  const pulled = await images.pull(name)
  expect(pulled).toMatchObject({ id: image.id, repoDigests: [`${registry.host}/apps/long@${sha256(image.manifest)}`] })
  expect(image.id).toMatch(/^sha512:\w{128}$/)
  expect(readFileSync(join(await images.prepareRootfs('c', image.id), 'said'), 'utf8')).toBe('hello')
  await images.releaseRootfs('c')
  expect(readdirSync(join(root, 'blobs/sha512')).toSorted()).toEqual(
    [...image.blobs.keys()].map((digest) => digest.slice('sha512:'.length)).toSorted(),
  )
  const archive = join(root, 'archive.tar')
  await images.exportArchive([name], archive)
  await images[Symbol.asyncDispose]()
  images = await openImages({ root })
  for (const text of [image.id, image.id.slice(7), image.id.slice(7, 20), image.id.slice(0, 20), name])
    expect(images.resolve(text)?.id).toBe(image.id)
  await images.remove(image.id)
  expect(left()).toEqual([])
  expect((await images.importArchive(archive)).map(({ id, repoTags }) => [id, repoTags])).toEqual([[image.id, [name]]])
  rmSync(archive)
})

test.each(['sha384', 'sha512'])(
  '%s: what is not what it says is refused, an index and a name may have it',
  async (algorithm) => {
    const digestOf = by(algorithm)
    const image = await makeImage(layers, {}, digestOf)
    const architecture = { x64: 'amd64' }[process.arch as string] ?? process.arch
    const index = Buffer.from(
      indexOf([{ manifest: image.manifest, architecture }])
        .toString()
        .replace(sha256(image.manifest), digestOf(image.manifest)),
    )
    const stored = new Map([...image.blobs, [digestOf(image.manifest), image.manifest], [digestOf(index), index]])
    front.meddle = ({ url = '' }, response) => {
      const [, kind, name = ''] = /\/(blobs|manifests)\/(.*)$/.exec(url) ?? []
      const type = name === digestOf(index) ? 'index' : 'manifest'
      if (kind === 'manifests') response.setHeader('content-type', `application/vnd.oci.image.${type}.v1+json`)
      response.end(stored.get(name))
    }
    const name = `${front.host}/apps/x@${digestOf(index)}`
    const [noise = '', said = ''] = image.layers
    const right = stored.get(noise) ?? Buffer.alloc(0)
    stored.set(noise, Buffer.concat([right.subarray(0, -1), Buffer.from('x')]))
    await expect(images.pull(name)).rejects.toThrow(`blob ${noise} is corrupt: its content has digest ${algorithm}:`)
    stored.set(noise, right)
    stored.set(
      digestOf(image.manifest),
      Buffer.from(image.manifest.toString().replace('"schemaVersion"', '"schemaversioN"')),
    )
    await expect(images.pull(name)).rejects.toThrow(
      `manifest ${digestOf(image.manifest)} of ${front.host}/apps/x is corrupt`,
    )
    stored.set(digestOf(image.manifest), image.manifest)
    expect(await images.pull(name)).toMatchObject({ id: image.id, repoDigests: [name] })
    expect(images.resolve(name)?.id).toBe(image.id)
    expect(readFileSync(join(root, 'blobs', algorithm, said.slice(7)))).toEqual(stored.get(said))
  },
)

test('an uncompressed layer that is not what its sha512 says is refused', async () => {
  const image = await makeImage(layers, {}, by('sha512'))
  const lie = by('sha512')(Buffer.from('another'))
  const config = image.blobs.get(image.id)?.toString() ?? ''
  const [first] = (JSON.parse(config) as { rootfs: { diff_ids: [string] } }).rootfs.diff_ids
  const file = Buffer.from(config.replace(first, lie))
  const manifest = Buffer.from(image.manifest.toString().replace(image.id, by('sha512')(file)))
  const blobs = new Map([...image.blobs, [by('sha512')(file), file]])
  await registry.push('apps/lie:1', { ...image, blobs, manifest })
  await expect(images.pull(`${registry.host}/apps/lie:1`)).rejects.toThrow(
    `layer is corrupt: it unpacks to ${first}, its image says ${lie}`,
  )
  expect(left()).toEqual([])
})

test('what came in part of a sha512 blob is gone on with', async () => {
  const image = await makeImage(layers, {}, by('sha512'))
  await registry.push('apps/part:1', image)
  const [noise = ''] = image.layers
  const content = image.blobs.get(noise) ?? Buffer.alloc(0)
  const partial = join(root, 'incoming', noise.replace(':', '-'))
  appendFileSync(partial, content)
  truncateSync(partial, 100_000)
  await images[Symbol.asyncDispose]()
  images = await openImages({ root })
  await images.pull(`${front.host}/apps/part:1`)
  expect(front.asked.filter(({ url }) => url.includes(noise)).map(({ range }) => range)).toEqual(['bytes=100000-'])
})
