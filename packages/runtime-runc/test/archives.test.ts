// Archives of images, with skopeo on the other side.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { unmountIfMounted } from '@nodelet/linux'
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { matchesPinned } from '../src/image/pinned.ts'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { writeLayout } from './layout.ts'
import { makeImage, sha256, tarOf } from './registry.ts'
import type { TestImage } from './registry.ts'

const run = promisify(execFile)
const skopeo = async (...args: string[]): Promise<string> =>
  (await run('skopeo', ['--insecure-policy', '--override-arch', 'amd64', ...args])).stdout
const name = 'example.test/apps/base:1'

let image: TestImage
let folder: string
let images: Images

beforeAll(async () => {
  image = await makeImage([[{ name: 'etc/one', content: '1' }], [{ name: 'etc/two', content: '2'.repeat(100_000) }]], {
    Cmd: ['/bin/tool'],
  })
})
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-archives-'))
  images = await openImages({ root: join(folder, 'store') })
  writeLayout(join(folder, 'layout'), image, name)
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  const mounts = join(folder, 'store/rootfs')
  for (const key of readdirSync(mounts)) unmountIfMounted(join(mounts, key, 'merged'), { detach: true })
  rmSync(folder, { recursive: true })
})

const at = (file: string): string => join(folder, file)

test('a docker archive of skopeo is taken in with its names; its files are there', async () => {
  await skopeo(
    'copy',
    `oci:${at('layout')}`,
    `docker-archive:${at('in.tar')}:${name}`,
    '--additional-tag',
    'example.test/apps/other:2',
  )
  const taken = await images.importArchive(at('in.tar'))
  expect(taken).toHaveLength(1)
  expect(taken[0]?.repoTags.toSorted()).toEqual([name, 'example.test/apps/other:2'])
  expect(taken[0]?.config.Cmd).toEqual(['/bin/tool'])
  const rootfs = await images.prepareRootfs('c', taken[0]?.id ?? '')
  expect(readFileSync(join(rootfs, 'etc/one'), 'utf8')).toBe('1')
  expect(readFileSync(join(rootfs, 'etc/two'), 'utf8')).toHaveLength(100_000)
  await images.releaseRootfs('c')
})

test.each(['oci', 'docker'] as const)(
  'skopeo reads an export as %s; taken in again it is the same image',
  async (format) => {
    await images.importArchive(at('layout'))
    await images.exportArchive([name], at('out.tar'), { format })
    const from = format === 'oci' ? `oci-archive:${at('out.tar')}` : `docker-archive:${at('out.tar')}:${name}`
    await skopeo('copy', from, `dir:${at('dir')}`)
    const { config, layers } = JSON.parse(readFileSync(at('dir/manifest.json'), 'utf8')) as {
      config: { digest: string }
      layers: { digest: string }[]
    }
    expect(config.digest).toBe(image.id)
    expect(layers).toHaveLength(2)
    if (format === 'oci') expect(sha256(readFileSync(at('dir/manifest.json')))).toBe(sha256(image.manifest))

    await using other = await openImages({ root: at('other') })
    expect(await other.importArchive(at('out.tar'))).toMatchObject([{ id: image.id, repoTags: [name] }])
    expect(readdirSync(folder).filter((file) => file.endsWith('.half'))).toEqual([])
    expect(existsSync(at('store/scratch')) ? readdirSync(at('store/scratch')) : []).toEqual([])
  },
)

test('by ID all tags are exported; one tag alone by its name', async () => {
  await images.importArchive(at('layout'))
  await images.importArchive(at('layout'), { reference: 'example.test/apps/other:2' })
  await images.exportArchive([image.id], at('all.tar'), { format: 'docker' })
  const tags = JSON.parse(await skopeo('inspect', '--raw', `docker-archive:${at('all.tar')}:${name}`)) as object
  expect(tags).toMatchObject({ config: { digest: image.id } })
  await using other = await openImages({ root: at('other') })
  expect((await other.importArchive(at('all.tar')))[0]?.repoTags.toSorted()).toEqual([
    name,
    'example.test/apps/other:2',
  ])
  await images.exportArchive([name], at('one.tar'), { format: 'docker' })
  await using third = await openImages({ root: at('third') })
  expect((await third.importArchive(at('one.tar')))[0]?.repoTags).toEqual([name])
})

test('links of old archives stand for layers; names cannot leave the archive', async () => {
  const layer = await tarOf([{ name: 'a', content: 'x' }])
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: [layer, layer].map(sha256) },
    }),
  )
  const manifest = [{ Config: 'c.json', RepoTags: null, Layers: ['1/layer.tar', '2/layer.tar'] }]
  const files = [
    { name: '1/layer.tar', content: layer },
    { name: '2/layer.tar', type: 'symlink' as const, linkname: '../1/layer.tar' },
    { name: 'c.json', content: config },
    { name: '../../escaped', content: 'no' },
  ]
  writeFileSync(at('old.tar'), await tarOf([...files, { name: 'manifest.json', content: JSON.stringify(manifest) }]))
  expect(await images.importArchive(at('old.tar'))).toMatchObject([{ id: sha256(config), repoTags: [] }])
  expect(existsSync(at('store/escaped')) || existsSync(at('escaped'))).toBe(false)

  const outside = [{ Config: '/etc/hostname', Layers: [] }]
  writeFileSync(at('bad.tar'), await tarOf([{ name: 'manifest.json', content: JSON.stringify(outside) }]))
  await expect(images.importArchive(at('bad.tar'))).rejects.toThrow('manifest.json names /etc/hostname: not there')
  const wrong = [{ ...manifest[0], Layers: ['1/layer.tar', 'c.json'] }]
  writeFileSync(at('wrong.tar'), await tarOf([...files, { name: 'manifest.json', content: JSON.stringify(wrong) }]))
  await expect(images.importArchive(at('wrong.tar'))).rejects.toThrow(
    `layer c.json has digest ${sha256(config)}, its configuration says ${sha256(layer)}`,
  )
})

test('what is not an archive, not here or not whole is named', async () => {
  writeFileSync(at('none.tar'), await tarOf([{ name: 'x', content: 'y' }]))
  await expect(images.importArchive(at('none.tar'))).rejects.toThrow('neither an OCI image layout nor a docker archive')
  await expect(images.exportArchive(['none'], at('out.tar'))).rejects.toThrow('image "none" is not here: pull it first')
  await images.importArchive(at('layout'))
  rmSync(at(`store/blobs/sha256/${image.layers[1]?.slice(7)}`))
  await expect(images.exportArchive([name], at('out.tar'))).rejects.toThrow(`blob ${image.layers[1]} is not kept here`)
  expect(existsSync(at('out.tar'))).toBe(false)
  expect(readdirSync(folder).filter((file) => file.endsWith('.half'))).toEqual([])
})

test.each([
  ['example.test/a:1', true],
  ['example.test/a', false],
  ['example.test/*', true],
  ['other.test/*', false],
  ['*/a:*', true],
  ['*b:*', false],
  ['*', true],
  ['*a:1', false],
])('pinned by %s: %s', (pattern, isPinned) => {
  expect(matchesPinned([pattern], ['example.test/a:1'])).toBe(isPinned)
})

test('a pinned image says so, and its verbose status has the whole configuration', async () => {
  const root = at('other')
  await using other = await openImages({ root, pinnedImages: ['example.test/apps/*'] })
  await other.importArchive(at('layout'))
  const asked = { image: name, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' }
  const status = await other.imageService.imageStatus({ image: asked, verbose: true })
  expect(status.image?.pinned).toBe(true)
  const file: unknown = JSON.parse(image.blobs.get(image.id)?.toString() ?? '')
  expect(JSON.parse(status.info.info ?? '')).toEqual({ chainID: other.list()[0]?.chain.at(-1), imageSpec: file })
  expect((await other.imageService.listImages({})).images.map(({ pinned }) => pinned)).toEqual([true])
})
