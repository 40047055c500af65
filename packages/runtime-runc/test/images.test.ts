import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { AuthConfig } from '@nodelet/cri-api'
import { unmountIfMounted } from '@nodelet/linux'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createSharedPulls } from '../src/image/shared-pulls.ts'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { indexOf, makeImage, sha256, startRegistry, tarOf } from './registry.ts'
import type { TestImage, TestRegistry } from './registry.ts'

let registry: TestRegistry
let root: string
let images: Images
let base: TestImage

beforeAll(async () => {
  registry = await startRegistry()
  base = await makeImage(
    [
      [
        { name: 'bin/', type: 'directory', mode: 0o755 },
        { name: 'bin/tool', mode: 0o4755, uid: 7, gid: 8, content: 'one', mtime: new Date(86_400_000) },
        { name: 'bin/alias', type: 'symlink', linkname: 'tool' },
        { name: 'bin/twin', type: 'link', linkname: 'bin/tool' },
        { name: 'etc/', type: 'directory', mode: 0o700 },
        { name: 'etc/gone', content: 'x' },
        { name: 'etc/kept', content: 'kept' },
        { name: 'opt/', type: 'directory', mode: 0o755 },
        { name: 'opt/old', content: 'old' },
        { name: 'usr-link', type: 'symlink', linkname: '/opt' },
      ],
      [
        { name: 'etc/.wh.gone' },
        { name: 'opt/.wh..wh..opq' },
        { name: 'opt/new', content: 'new' },
        { name: 'usr-link/through', content: 'through' },
        { name: 'late', type: 'link', linkname: 'etc/kept' },
        { name: 'run/pipe', type: 'fifo' },
        { name: 'noted', content: '', pax: { 'SCHILY.xattr.user.note': 'hi' } },
      ],
    ],
    { Cmd: ['/bin/tool'], Env: ['A=1'], User: '7' },
  )
  await registry.push('apps/base:1', base)
})
afterAll(async () => registry[Symbol.asyncDispose]())

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-images-'))
  images = await openImages({ root })
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  for (const key of readdirSync(join(root, 'rootfs')))
    unmountIfMounted(join(root, 'rootfs', key, 'merged'), { detach: true })
  rmSync(root, { recursive: true })
})

const blobs = (): string[] => readdirSync(join(root, 'blobs/sha256'))
const layers = (): string[] => readdirSync(join(root, 'l'))

test('pulls by tag, tells progress, and the file system has what the layers say', async () => {
  const seen = new Map<string, number>()
  const image = await images.pull(`${registry.host}/apps/base:1`, {
    onProgress: ({ digest, done }) => seen.set(digest, done),
  })
  expect(image).toMatchObject({
    id: base.id,
    repoTags: [`${registry.host}/apps/base:1`],
    repoDigests: [`${registry.host}/apps/base@${sha256(base.manifest)}`],
    config: { Cmd: ['/bin/tool'], Env: ['A=1'], User: '7' },
  })
  for (const digest of base.layers) expect(seen.get(digest)).toBe(base.blobs.get(digest)?.length)

  const path = await images.prepareRootfs('pod-1', image.id)
  const tool = statSync(join(path, 'bin/tool'))
  expect({ mode: tool.mode & 0o7777, uid: tool.uid, gid: tool.gid, mtime: tool.mtimeMs }).toEqual({
    mode: 0o4755,
    uid: 7,
    gid: 8,
    mtime: 86_400_000,
  })
  expect(statSync(join(path, 'bin/twin')).ino).toBe(tool.ino)
  expect(readlinkSync(join(path, 'bin/alias'))).toBe('tool')
  expect(readdirSync(join(path, 'etc'))).toEqual(['kept'])
  expect(statSync(join(path, 'etc')).mode & 0o777).toBe(0o700)
  expect(readdirSync(join(path, 'opt')).toSorted()).toEqual(['new', 'through'])
  expect(readFileSync(join(path, 'late'), 'utf8')).toBe('kept')
  expect(lstatSync(join(path, 'run/pipe')).isFIFO()).toBe(true)

  writeFileSync(join(path, 'written'), 'by a container')
  expect(await images.prepareRootfs('pod-1', image.id)).toBe(path)
  expect(readFileSync(join(path, 'written'), 'utf8')).toBe('by a container')
  await images.releaseRootfs('pod-1')
  await images.releaseRootfs('pod-1')
  expect(readdirSync(join(root, 'rootfs'))).toEqual([])
})

test('an index gives the manifest of this platform; its digest is the name', async () => {
  const other = await makeImage([[{ name: 'other', content: 'x' }]])
  await registry.push('apps/multi:other', other)
  await registry.push('apps/multi:this', base)
  const architecture = { x64: 'amd64' }[process.arch as string] ?? process.arch
  const index = indexOf([
    { manifest: other.manifest, architecture: 'mips' },
    { manifest: base.manifest, architecture },
  ])
  await registry.putManifest('apps/multi', 'all', 'application/vnd.oci.image.index.v1+json', index)
  const digest = `${registry.host}/apps/multi@${sha256(index)}`
  const image = await images.pull(digest)
  expect(image).toMatchObject({ id: base.id, repoTags: [], repoDigests: [digest] })
  expect(images.resolve(base.id.slice(7, 19))?.id).toBe(base.id)
  expect(images.resolve(digest)?.id).toBe(base.id)

  const foreign = indexOf([{ manifest: other.manifest, architecture: 'mips' }])
  await registry.putManifest('apps/multi', 'foreign', 'application/vnd.oci.image.index.v1+json', foreign)
  await expect(images.pull(`${registry.host}/apps/multi:foreign`)).rejects.toThrow(
    /no match for platform in manifest: not found: it is linux\/\w+.*, there is linux\/mips/,
  )
})

test('who pulls the same at once shares the work, and leaving ends only the own wait', async () => {
  const name = `${registry.host}/apps/base:1`
  const leaving = new AbortController()
  const left = images.pull(name, { signal: leaving.signal })
  const stayed = images.pull(name)
  leaving.abort(new Error('left'))
  await expect(left).rejects.toThrow('left')
  expect((await stayed).id).toBe(base.id)
  expect(images.list()).toHaveLength(1)
})

test('an unknown image and an unreachable registry are told apart and leave nothing', async () => {
  await expect(images.pull(`${registry.host}/apps/none:1`)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining(`failed to resolve reference "${registry.host}/apps/none:1"`),
  })
  await expect(images.pull('127.0.0.1:9/apps/none:1')).rejects.toMatchObject({
    code: 'UNKNOWN',
    message: expect.stringMatching(
      /^RegistryUnavailable: failed to pull and unpack image .*: Get "https:\/\/127\.0\.0\.1:9\/.*ECONNREFUSED/,
    ),
  })
  await expect(images.pull('Not A Name')).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining(`couldn't parse image name "Not A Name": invalid reference format`),
  })
  expect([blobs(), layers()]).toEqual([[], []])
})

test('a download that everybody has left is at its end when the last one is told', async () => {
  const pulls = createSharedPulls<void>({ windsDown: true })
  let isOver = false
  const fetch = async (leaving: AbortSignal): Promise<void> => {
    await once(leaving, 'abort')
    await setImmediate()
    isOver = true
  }
  const leaving = [new AbortController(), new AbortController()]
  const [one, two] = leaving.map(async ({ signal }) => pulls.join('blob', fetch, signal, undefined))
  leaving[0]?.abort(new Error('enough'))
  await expect(one).rejects.toThrow('enough')
  expect(isOver).toBe(false)
  leaving[1]?.abort(new Error('enough'))
  await expect(two).rejects.toThrow('enough')
  expect(isOver).toBe(true)
})

test('a corrupt layer is refused by its digest and leaves nothing', async () => {
  const image = await makeImage([[{ name: 'a', content: 'a'.repeat(5000) }], [{ name: 'b', content: 'b' }]])
  await registry.push('apps/corrupt:1', image)
  const [digest = ''] = image.layers
  const file = registry.blobFile(digest)
  const { size } = statSync(file)
  truncateSync(file, size - 1)
  appendFileSync(file, 'x')
  await expect(images.pull(`${registry.host}/apps/corrupt:1`)).rejects.toThrow(`blob ${digest} is corrupt`)
  expect([blobs(), layers()]).toEqual([[], []])
})

test.each([
  ['a name that climbs', [{ name: '../../escape', content: 'x' }], 'escape'],
  [
    'a symlink that points out',
    [
      { name: 'out', type: 'symlink' as const, linkname: '../../../..' },
      { name: 'out/escape', content: 'x' },
    ],
    'escape',
  ],
  [
    'an absolute symlink',
    [
      { name: 'out', type: 'symlink' as const, linkname: '/tmp' },
      { name: 'out/escape', content: 'x' },
    ],
    'tmp/escape',
  ],
])('%s stays inside the layer', async (_, entries, where) => {
  const image = await makeImage([entries])
  const name = `apps/hostile-${entries.length}-${where.length}:1`
  await registry.push(name, image)
  const { id } = await images.pull(`${registry.host}/${name}`)
  const path = await images.prepareRootfs('pod', id)
  expect(readFileSync(join(path, where), 'utf8')).toBe('x')
  expect(readdirSync(root).toSorted()).toEqual(['blobs', 'images', 'incoming', 'l', 'lock', 'rootfs'])
})

test('a hard link out of the image is an error that names the entry', async () => {
  const image = await makeImage([[{ name: 'passwd', type: 'link', linkname: '../../../../etc/shadow' }]])
  await registry.push('apps/link:1', image)
  await expect(images.pull(`${registry.host}/apps/link:1`)).rejects.toThrow(
    'entry "passwd": hard link to ../../../../etc/shadow: no such file in the image',
  )
  expect(layers()).toEqual([])
})

test('removing an image frees what no other uses; a container keeps its layers until it is gone', async () => {
  const name = `${registry.host}/apps/base:1`
  const { id } = await images.pull(name)
  const path = await images.prepareRootfs('pod', id)
  await images.remove(name)
  await images.remove(name)
  expect(images.list()).toEqual([])
  expect(readFileSync(join(path, 'opt/new'), 'utf8')).toBe('new')
  await images.releaseRootfs('pod')
  expect([blobs(), layers()]).toEqual([[], []])
})

test('everything is found again after a crash, and what was half-done is gone', async () => {
  const name = `${registry.host}/apps/base:1`
  const { id } = await images.pull(name)
  const path = await images.prepareRootfs('pod', id)
  await images[Symbol.asyncDispose]()
  mkdirSync(join(root, 'l/zz.tmp/fs'), { recursive: true })
  mkdirSync(join(root, 'rootfs/half/upper'), { recursive: true })
  writeFileSync(join(root, 'incoming/half'), 'x') // not a name of ours
  images = await openImages({ root })
  expect(images.resolve(name)?.id).toBe(id)
  expect(images.rootfsPath('pod')).toBe(path)
  expect(readdirSync(join(root, 'rootfs'))).toEqual(['pod'])
  expect(layers()).toHaveLength(2)
  expect(readdirSync(join(root, 'incoming'))).toEqual([])
  unmountIfMounted(path) // as after a reboot
  expect(readFileSync(join(await images.prepareRootfs('pod', id), 'opt/new'), 'utf8')).toBe('new')
})

test('imports an OCI layout, from a folder and from a tar, under its own name or another', async () => {
  const layout = join(root, 'layout')
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  const put = (content: Buffer): void => writeFileSync(join(layout, 'blobs/sha256', sha256(content).slice(7)), content)
  for (const blob of [...base.blobs.values(), base.manifest]) put(blob)
  const descriptor = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: sha256(base.manifest),
    size: base.manifest.length,
  }
  const annotations = { 'org.opencontainers.image.ref.name': 'localhost/demo:1' }
  writeFileSync(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...descriptor, annotations }] }),
  )
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  const [image] = await images.importArchive(layout)
  expect(image).toMatchObject({ id: base.id, repoTags: ['localhost/demo:1'] })

  const files = [...base.blobs.values(), base.manifest].map((content) => ({
    name: `blobs/sha256/${sha256(content).slice(7)}`,
    content,
  }))
  writeFileSync(
    `${layout}.tar`,
    await tarOf([...files, { name: './index.json', content: readFileSync(join(layout, 'index.json')) }]),
  )
  await images.importArchive(`${layout}.tar`, { reference: 'localhost/other:2' })
  expect(images.resolve('localhost/other:2')?.repoTags).toEqual(['localhost/demo:1', 'localhost/other:2'])
  expect(readdirSync(root)).not.toContain('scratch/layout')

  await expect(images.importArchive(join(root, 'blobs'))).rejects.toThrow('not an OCI image layout: index.json')
  await expect(images.importArchive(join(root, 'nowhere'))).rejects.toThrow('nowhere: ENOENT')
})

test('CRI: status of an unknown image is empty, a pull answers the ID, credentials are looked at', async () => {
  const { imageService } = images
  expect((await imageService.imageStatus({ image: spec('none'), verbose: false })).image).toBeUndefined()
  const name = `${registry.host}/apps/base:1`
  const { imageRef } = await imageService.pullImage({
    image: spec(name),
    auth: AuthConfig.fromPartial({ username: 'u', password: 'p' }),
  })
  expect(imageRef).toBe(base.id)
  const { image, info } = await imageService.imageStatus({ image: spec(name), verbose: true })
  expect(image).toMatchObject({ id: base.id, uid: { value: 7n }, username: '', pinned: false })
  expect(JSON.parse(info.info ?? '')).toMatchObject({ imageSpec: { config: { Cmd: ['/bin/tool'] } } })
  expect((await imageService.imageFsInfo({})).imageFilesystems).toMatchObject([{ fsId: { mountpoint: root } }])
  await imageService.removeImage({ image: spec(name) })
  expect(await imageService.listImages({})).toEqual({ images: [] })
})

const spec = (image: string) => ({ image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' })
