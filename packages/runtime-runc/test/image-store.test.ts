// The store over time: crashes, races, many layers, and the code as it is built.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { unmountIfMounted } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { makeImage, sha256 } from './registry.ts'
import { takenBelow } from './disk.ts'
import type { TestImage } from './registry.ts'

let root: string
let work: string
let images: Images
let problems: string[]

const open = async (): Promise<Images> => openImages({ root, onProblem: ({ message }) => problems.push(message) })

beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'nodelet-store-'))
  root = join(work, 'store')
  problems = []
  images = await open()
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  for (const key of readdirSync(join(root, 'rootfs'))) {
    while (unmountIfMounted(join(root, 'rootfs', key, 'merged'), { detach: true }));
  }
  rmSync(work, { recursive: true })
})

/** Writes an OCI layout and answers its folder. */
function writeLayout(name: string, { blobs, manifest }: TestImage, tag?: string): string {
  const folder = join(work, name)
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true })
  for (const content of [...blobs.values(), manifest]) {
    writeFileSync(join(folder, 'blobs/sha256', sha256(content).slice('sha256:'.length)), content)
  }
  const descriptor = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: sha256(manifest),
    size: manifest.length,
    annotations: tag === undefined ? {} : { 'org.opencontainers.image.ref.name': tag },
  }
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }))
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  return folder
}

const left = (): string[] =>
  ['blobs/sha256', 'incoming', 'l', 'images', 'rootfs'].flatMap((name) => readdirSync(join(root, name)))

test('more layers than a mount has room for in full paths', async () => {
  const layers = Array.from({ length: 127 }, (_, at) => [
    { name: `f${at}`, content: String(at) },
    { name: 'last', content: String(at) },
  ])
  const [image] = await images.importArchive(writeLayout('many', await makeImage(layers)), { reference: 'many' })
  expect(image?.chain).toHaveLength(127)
  const before = process.cwd()
  const path = await images.prepareRootfs('many', image?.id ?? '')
  expect(process.cwd()).toBe(before)
  expect(readdirSync(path)).toHaveLength(128)
  expect(readFileSync(join(path, 'last'), 'utf8')).toBe('126')
  writeFileSync(join(path, 'f0'), 'written')
  await images.releaseRootfs('many')
  await images.remove('many')
  expect(left()).toEqual([])
})

test('an image without layers, and a root that has its own owner and mode', async () => {
  const [empty] = await images.importArchive(writeLayout('empty', await makeImage([])), { reference: 'empty' })
  expect(readdirSync(await images.prepareRootfs('empty', empty?.id ?? ''))).toEqual([])
  const owned = await makeImage([[{ name: './', type: 'directory', mode: 0o750, uid: 11, gid: 12 }]])
  const [image] = await images.importArchive(writeLayout('owned', owned), { reference: 'owned' })
  const { mode, uid, gid } = lstatSync(await images.prepareRootfs('owned', image?.id ?? ''))
  expect({ mode: mode & 0o7777, uid, gid }).toEqual({ mode: 0o750, uid: 11, gid: 12 })
  await expect(images.prepareRootfs('owned', empty?.id ?? '')).rejects.toThrow(`rootfs owned is of image ${image?.id}`)
  await expect(images.prepareRootfs('../x', empty?.id ?? '')).rejects.toThrow('rootfs key "../x"')
})

test('an opaque root hides every layer below', async () => {
  const image = await makeImage([
    [{ name: 'old', content: 'o' }],
    [{ name: '.wh..wh..opq' }, { name: 'new', content: 'n' }],
  ])
  const [imported] = await images.importArchive(writeLayout('opaque', image), { reference: 'opaque' })
  const id = imported?.id ?? ''
  expect(readdirSync(await images.prepareRootfs('opaque', id))).toEqual(['new'])
  await images[Symbol.asyncDispose]()
  images = await open()
  unmountIfMounted(images.rootfsPath('opaque') ?? '')
  expect(readdirSync(await images.prepareRootfs('opaque', id))).toEqual(['new'])
})

test('removing and fetching the same image at the same time leaves it whole or not at all', async () => {
  const layout = writeLayout('same', await makeImage([[{ name: 'a', content: 'a' }], [{ name: 'b', content: 'b' }]]))
  for (let round = 0; round < 5; round += 1) {
    const [imported] = await Promise.all([
      images.importArchive(layout, { reference: 'same' }),
      images.remove('same'),
      images.importArchive(layout, { reference: 'same:2' }),
      images.remove('same:2'),
    ])
    const [image] = images.list()
    const path = await images.prepareRootfs(`round-${round}`, image?.id ?? imported[0]?.id ?? '')
    expect(readdirSync(path)).toEqual(['a', 'b'])
    await images.releaseRootfs(`round-${round}`)
    await images.remove(image?.id ?? '')
  }
  expect([left(), problems]).toEqual([[], []])
})

test('killed at any moment of importing, the store opens again and works', async () => {
  const noise = (seed: number): string =>
    Array.from({ length: 4000 }, (_, at) => sha256(Buffer.from(`${seed} ${at}`))).join('')
  const image = await makeImage([1, 2, 3].map((seed) => [{ name: `f${seed}`, content: noise(seed) }]))
  const layout = writeLayout('killed', image)
  await images[Symbol.asyncDispose]()
  for (const delay of [0, 40, 90, 150, 250]) {
    const program = `
      import { openImages } from '@nodelet/runtime-runc'
      const images = await openImages({ root: process.argv[1] })
      process.stdout.write('open')
      for (;;) {
        const [{ id }] = await images.importArchive(process.argv[2], { reference: 'killed' })
        await images.prepareRootfs('pod', id)
        await images.releaseRootfs('pod')
        await images.remove('killed')
      }`
    const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', program, root, layout]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: import.meta.dirname })
    await once(child.stdout, 'data')
    await new Promise((done) => setTimeout(done, delay))
    expect(child.exitCode).toBe(null)
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    images = await open()
    const [again] = await images.importArchive(layout, { reference: 'killed' })
    await images.releaseRootfs('pod')
    expect(readdirSync(await images.prepareRootfs('pod', again?.id ?? ''))).toEqual(['f1', 'f2', 'f3'])
    await images.releaseRootfs('pod')
    await images.remove('killed')
    expect([left(), problems]).toEqual([[], []])
    await images[Symbol.asyncDispose]()
  }
  images = await open()
})

test('what an interrupted removal left goes at the next opening; an image without its layers is forgotten', async () => {
  const image = await makeImage([[{ name: 'a', content: 'a' }]])
  const [first] = await images.importArchive(writeLayout('first', image), { reference: 'first' })
  await images[Symbol.asyncDispose]()
  rmSync(join(root, 'images', `${first?.id.slice('sha256:'.length)}.json`))
  images = await open()
  await images.remove('whatever') // waits for what opening began
  expect(left()).toEqual([])

  const [again] = await images.importArchive(join(work, 'first'), { reference: 'first' })
  await images[Symbol.asyncDispose]()
  rmSync(join(root, 'l'), { recursive: true })
  writeFileSync(join(root, 'images/broken.json'), '{')
  images = await open()
  expect(images.list()).toEqual([])
  expect(problems).toEqual([
    expect.stringContaining('broken.json: not an image record: pull the image again'),
    `image ${again?.id} has lost layers and is forgotten: pull it again`,
  ])
})

test('names move, names that look like IDs are names, usage counts each layer once', async () => {
  const shared = [{ name: 'base', content: 'base' }]
  const one = await makeImage([shared, [{ name: 'one', content: '1' }]])
  const two = await makeImage([shared, [{ name: 'two', content: '22' }]])
  await images.importArchive(writeLayout('one', one, 'localhost/app:1'))
  await images.importArchive(writeLayout('two', two, 'localhost/app:1'))
  expect(images.resolve('localhost/app:1')?.id).toBe(two.id)
  expect(images.resolve(one.id)?.repoTags).toEqual([])
  expect(await images.usage()).toEqual(takenBelow(join(root, 'l'), 'fs'))
  const short = one.id.slice('sha256:'.length, 'sha256:'.length + 8)
  expect(images.resolve(short)?.id).toBe(one.id)
  await images.importArchive(join(work, 'two'), { reference: short })
  expect(images.resolve(short)?.id).toBe(two.id)
})

test('closing in the middle of unpacking does not wait for it', async () => {
  const noise = Array.from({ length: 50_000 }, (_, at) => ({ name: `f${at}`, content: '' }))
  const layout = writeLayout('large', await makeImage([noise]))
  const importing = images.importArchive(layout, { reference: 'large' })
  importing.catch(() => undefined) // looked at below
  await expect
    .poll(() => readdirSync(join(root, 'l')).some((name) => existsSync(join(root, 'l', name, 'fs/f10'))))
    .toBe(true)
  await images[Symbol.asyncDispose]()
  await expect(importing).rejects.toThrow('the unpacker is closed')
  images = await open()
  await images.remove('whatever')
  expect(left()).toEqual([])
})

test('the code as it is built unpacks in its worker too', async () => {
  const source = resolve(import.meta.dirname, '..')
  const modules = resolve(source, '../../node_modules')
  const built = mkdtempSync(join(modules, '.built-'))
  try {
    // Types are checked elsewhere; the packages that it needs stay sources.
    const options = ['--noCheck', '--outDir', built]
    execFileSync(join(modules, '.bin/tsc'), ['-p', join(source, 'tsconfig.build.json'), ...options])
    mkdirSync(join(built, 'node_modules'))
    symlinkSync(dirname(createRequire(import.meta.url).resolve('tar-stream')), join(built, 'node_modules/tar-stream'))
    const layout = writeLayout('built', await makeImage([[{ name: 'a', content: 'a' }]]))
    const program = `
      import { openImages } from ${JSON.stringify(join(built, 'index.js'))}
      await using images = await openImages({ root: process.argv[1] })
      const [image] = await images.importArchive(process.argv[2], { reference: 'built' })
      console.log(image.repoTags[0])`
    const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', program, join(work, 'other'), layout]
    expect(execFileSync(process.execPath, args, { encoding: 'utf8' })).toBe('docker.io/library/built:latest\n')
  } finally {
    rmSync(built, { recursive: true })
  }
})
