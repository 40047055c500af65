// Layers as real programs write them, and as an attacker would.
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
  openSync,
  closeSync,
  constants,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { defaultLimits } from '../src/snapshot/limits.ts'
import type { LayerLimits } from '../src/snapshot/limits.ts'
import { unpackLayer } from '../src/snapshot/unpack.ts'
import { createUnpacker } from '../src/snapshot/unpacker.ts'
import { sha256, tarOf } from './registry.ts'
import type { TarEntry } from './registry.ts'

let root: string
let source: string
let folder: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-tar-'))
  source = join(root, 'source')
  folder = join(root, 'layers/one')
  mkdirSync(source)
  mkdirSync(folder, { recursive: true })
})
afterEach(() => rmSync(root, { recursive: true }))

const gnuTar = (...options: string[]): Buffer =>
  execFileSync('tar', ['-C', source, '-cf', '-', ...options, '.'], { maxBuffer: 1 << 28 })

async function unpackTar(tar: Buffer, limits: Partial<LayerLimits> = {}, lowers: string[] = []): Promise<string[]> {
  const blob = join(root, 'blob')
  writeFileSync(blob, gzipSync(tar))
  const task = { blob, folder, diffId: sha256(tar), limits: { ...defaultLimits, ...limits } }
  return (await unpackLayer(task, () => lowers)).skipped
}

const unpack = async (...entries: TarEntry[]): Promise<string[]> => unpackTar(await tarOf(entries))

test.each([
  ['old GNU', ['--format=gnu', '-S']],
  ['pax 0.0', ['--format=pax', '-S', '--sparse-version=0.0']],
  ['pax 0.1', ['--format=pax', '-S', '--sparse-version=0.1']],
  ['pax 1.0', ['--format=pax', '-S', '--sparse-version=1.0']],
])('sparse files: %s', async (_, options) => {
  const fd = openSync(join(source, 'many'), 'w')
  for (let at = 0; at < 60; at += 1) writeSync(fd, `piece ${at}`, at * 65_536 + 4096)
  closeSync(fd)
  truncateSync(join(source, 'many'), 60 * 65_536 + 12_345)
  writeFileSync(join(source, 'hole'), '')
  truncateSync(join(source, 'hole'), 1_000_000)
  writeFileSync(join(source, 'after'), 'after')
  const tar = gnuTar(...options)
  expect(tar.length).toBeLessThan(1_000_000) // it is sparse in the tar
  await unpackTar(tar)
  for (const name of ['many', 'hole', 'after']) {
    expect(readFileSync(join(folder, name)).equals(readFileSync(join(source, name)))).toBe(true)
  }
  expect(lstatSync(join(folder, 'hole')).blocks).toBe(0)
  expect(lstatSync(join(folder, 'many')).blocks * 512).toBeLessThan(1_000_000)
})

test.each([
  ['GNU', ['--format=gnu']],
  ['pax', ['--format=pax']],
])('long names, large numbers, times before 1970: %s', async (_, options) => {
  const long = `${'d'.repeat(120)}/${'ü'.repeat(100)}`
  mkdirSync(join(source, 'd'.repeat(120)))
  writeFileSync(join(source, long), 'long')
  symlinkSync('t'.repeat(300), join(source, 'link'))
  writeFileSync(join(source, 'old'), 'old')
  execFileSync('touch', ['-d', '1965-03-04 05:06:07.123456789 UTC', join(source, 'old')])
  const tar = gnuTar(...options, '--owner=:3000000000', '--group=:2999999999', '--mode=u+s')
  await unpackTar(tar)
  expect(readFileSync(join(folder, long), 'utf8')).toBe('long')
  expect(readlinkSync(join(folder, 'link'))).toBe('t'.repeat(300))
  const { uid, gid, mode, mtimeNs } = lstatSync(join(folder, 'old'), { bigint: true })
  expect({ uid, gid, setuid: mode & 0o4000n }).toEqual({ uid: 3_000_000_000n, gid: 2_999_999_999n, setuid: 0o4000n })
  const exact = lstatSync(join(source, 'old'), { bigint: true }).mtimeNs
  // GNU tars have whole seconds only.
  expect(mtimeNs).toBe(options[0] === '--format=pax' ? exact : (exact / 1_000_000_000n - 1n) * 1_000_000_000n)
})

test('what is written twice is there once, as it was last; folders and files take the place of each other', async () => {
  await unpack(
    { name: 'twice', content: 'first and longer', mode: 0o600 },
    { name: 'twice', content: 'second', mode: 0o640 },
    { name: 'a/', type: 'directory' },
    { name: 'a/inside', content: 'x' },
    { name: 'a', content: 'now a file' },
    { name: 'b', content: 'a file' },
    { name: 'b/', type: 'directory', mode: 0o711 },
    { name: 'b/inside', content: 'y' },
    { name: 'c/', type: 'directory', mode: 0o700 },
    { name: 'c/kept', content: 'z' },
    { name: 'c/', type: 'directory', mode: 0o755 },
    { name: 's', type: 'symlink', linkname: 'c' },
    { name: 's/kept2', content: 'through' },
    { name: 's', content: 'no link any more' },
    { name: 's2', type: 'symlink', linkname: '/etc/passwd' },
    { name: 's2', content: 'not written through' },
    { name: 'f', type: 'fifo' },
    { name: 'f', content: 'not written into' },
    { name: 'f', type: 'link', linkname: 'f' },
  )
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8')
  expect(['twice', 'a', 's', 's2', 'f'].map(text)).toEqual([
    'second',
    'now a file',
    'no link any more',
    'not written through',
    'not written into',
  ])
  expect(readdirSync(join(folder, 'b'))).toEqual(['inside'])
  expect(readdirSync(join(folder, 'c')).toSorted()).toEqual(['kept', 'kept2'])
  expect(lstatSync(join(folder, 'c')).mode & 0o7777).toBe(0o755)
  expect(lstatSync(join(folder, 'twice')).mode & 0o7777).toBe(0o640)
})

test('nothing lands outside, whatever names and links say', async () => {
  const outside = join(root, 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'secret'), 'secret')
  await unpack(
    { name: '/absolute', content: '1' },
    { name: '../../up', content: '2' },
    { name: 'a/../../../mixed', content: '3' },
    { name: 'out', type: 'symlink', linkname: outside },
    { name: 'out/written', content: '4' },
    { name: 'up', type: 'symlink', linkname: '../../outside' },
    { name: 'up/written', content: '5' },
    { name: 'deep/', type: 'directory' },
    { name: 'deep/l', type: 'symlink', linkname: '..' },
    { name: 'deep/l/l2', type: 'symlink', linkname: '../..' },
    { name: 'deep/l/l2/outside/written', content: '6' },
    { name: 'd', type: 'symlink', linkname: `${outside}/made` },
    { name: 'd/', type: 'directory' },
    { name: 'w', type: 'symlink', linkname: outside },
    { name: 'w/.wh.secret' },
    { name: 'w/.wh..wh..opq' },
    { name: 'p', type: 'symlink', linkname: outside },
    { name: 'p/pipe', type: 'fifo' },
  )
  expect(readdirSync(outside)).toEqual(['secret'])
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret')
  expect(readdirSync(root).toSorted()).toEqual(['blob', 'layers', 'outside', 'source'])
  expect(readdirSync(join(root, 'layers'))).toEqual(['one'])
  await expect(unpack({ name: 'stolen', type: 'link', linkname: `${outside}/nothing` })).rejects.toThrow(
    'no such file in the image',
  )
  await expect(unpack({ name: 'stolen', type: 'link', linkname: '../../../outside/secret2' })).rejects.toThrow(
    'no such file in the image',
  )
  expect(existsSync(join(folder, 'stolen'))).toBe(false)
})

const headerOf = async (name: string): Promise<Buffer> => (await tarOf([{ name, content: '' }])).subarray(0, 512)

/** Writes bytes into a header and corrects its checksum. */
function patched(header: Buffer, at: number, bytes: Buffer | string): Buffer {
  const block = Buffer.from(header)
  Buffer.from(bytes).copy(block, at)
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

const zeros = Buffer.alloc(1024)

test.each<[string, () => Promise<Buffer>, string]>([
  ['a name with a NUL', async () => tarOf([{ name: 'x', pax: { path: 'a\0b' } }]), 'extended header: path has a NUL'],
  [
    'a name that is not UTF-8',
    async () => Buffer.concat([patched(await headerOf('xx'), 0, Buffer.from([0xff])), zeros]),
    'is not UTF-8',
  ],
  ['a wrong checksum', async () => Buffer.concat([(await headerOf('xx')).fill('9', 0, 1), zeros]), 'checksum'],
  [
    'a size below nothing',
    async () => Buffer.concat([patched(await headerOf('xx'), 124, Buffer.alloc(12, 0xff)), zeros]),
    'a header that says -1 bytes',
  ],
  [
    'a size beyond all numbers',
    async () => Buffer.concat([patched(await headerOf('xx'), 124, Buffer.from(`80${'ff'.repeat(11)}`, 'hex')), zeros]),
    'a number too large',
  ],
  [
    'a huge extended header',
    async () => {
      const block = patched(patched(await headerOf('xx'), 124, '77777777777\0'), 156, 'x')
      return Buffer.concat([block, zeros])
    },
    'an extended header of 8589934591 bytes',
  ],
  [
    'a tar that ends in a file',
    async () => (await tarOf([{ name: 'x', content: 'y'.repeat(900) }])).subarray(0, 700),
    'cut off',
  ],
  [
    'a sparse file whose map leaves it',
    async () => tarOf([{ name: 'x', content: 'abc', pax: { 'GNU.sparse.map': '9,3', 'GNU.sparse.size': '10' } }]),
    'a sparse file with a wrong map',
  ],
  [
    'a sparse file with more in its map than there is',
    async () => tarOf([{ name: 'x', content: 'abc', pax: { 'GNU.sparse.map': '0,5', 'GNU.sparse.size': '10' } }]),
    'a sparse file whose map has 5 bytes and whose content 3',
  ],
  ['a long name', async () => tarOf([{ name: 'n'.repeat(256), content: '' }]), 'a name longer than 255 bytes'],
  ['a long path', async () => tarOf([{ name: 'n/'.repeat(2100), type: 'directory' }]), 'a path longer than 4095 bytes'],
  [
    'a deep path',
    async () => tarOf([{ name: 'n/'.repeat(1100), type: 'directory' }]),
    'a path of more than 1000 parts',
  ],
  [
    'a file that goes on in another volume',
    async () => Buffer.concat([patched(await headerOf('xx'), 156, 'M'), zeros]),
    'another volume',
  ],
])('%s: refused', async (_, tar, message) => {
  await expect(unpackTar(await tar())).rejects.toThrow(message)
})

test('what nobody knows is passed over and told; what follows the end of a tar is not read', async () => {
  const unknown = patched(await headerOf('odd'), 156, 'V')
  const tar = Buffer.concat([
    unknown,
    await tarOf([{ name: 'f', content: 'f' }]),
    await tarOf([{ name: 'late', content: '' }]),
  ])
  expect(await unpackTar(tar)).toEqual(['odd of type "V"'])
  expect(readdirSync(folder)).toEqual(['f'])
})

test.each<[string, Partial<LayerLimits>, string]>([
  ['size', { maxBytes: 10_000 }, 'it unpacks to more than the 10000 bytes that a layer may have (maxBytes)'],
  ['entries', { maxEntries: 2 }, 'entry "c": more than the 2 entries that a layer may have (maxEntries)'],
])('a limit of %s', async (_, limits, message) => {
  const tar = await tarOf(['a', 'b', 'c', 'd'].map((name) => ({ name, content: 'x'.repeat(5000) })))
  await expect(unpackTar(tar, limits)).rejects.toThrow(message)
})

test('a sparse file counts with its holes; a bomb is refused long before it is unpacked', async () => {
  const hole = await tarOf([{ name: 'x', content: 'abc', pax: { 'GNU.sparse.map': '0,3', 'GNU.sparse.size': '9999' } }])
  await expect(unpackTar(hole, { maxBytes: 9000 })).rejects.toThrow('its files have more than the 9000 bytes')
  // Two gibibytes of zeros in a few kilobytes.
  const blob = join(root, 'bomb')
  writeFileSync(blob, '')
  const part = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024))
  const head = zstdCompressSync(patched(await headerOf('bomb'), 124, '20000000000\0'))
  appendFileSync(blob, head)
  for (let at = 0; at < 32; at += 1) appendFileSync(blob, part)
  const limits = { ...defaultLimits, maxRatio: 100 }
  await expect(unpackLayer({ blob, folder, diffId: 'sha256:0', limits }, () => [])).rejects.toThrow('refused as a bomb')
})

test('layers are unpacked side by side; one that needs those below waits for them', async () => {
  await using unpacker = createUnpacker({ threads: 2 })
  const task = async (name: string, entries: TarEntry[]): Promise<{ blob: string; folder: string; diffId: string }> => {
    const tar = await tarOf(entries)
    const into = join(root, 'layers', name)
    mkdirSync(into)
    writeFileSync(`${into}.blob`, gzipSync(tar))
    return { blob: `${into}.blob`, folder: into, diffId: sha256(tar) }
  }
  const below = Promise.withResolvers<string[]>()
  const needs = unpacker.unpack(await task('needs', [{ name: 'l', type: 'link', linkname: 'f' }]), below.promise)
  // It has its own folders, so the layers below do not matter.
  const free = await task('free', [
    { name: 'd/', type: 'directory' },
    { name: 'd/f', content: 'f' },
  ])
  expect(await unpacker.unpack(free, new Promise(() => undefined))).toEqual({ hidesAll: false, skipped: [] })
  const lower = await task('lower', [{ name: 'f', content: 'of below' }])
  await unpacker.unpack(lower, Promise.resolve([]))
  below.resolve([lower.folder])
  await needs
  expect(readFileSync(join(root, 'layers/needs/l'), 'utf8')).toBe('of below')
  const failing = unpacker.unpack(
    await task('fails', [{ name: 'l', type: 'link', linkname: 'f' }]),
    Promise.reject(new Error('gone')),
  )
  await expect(failing).rejects.toThrow('a layer below is not there: gone')
})

test('a layer that stands still is given up', async () => {
  await using unpacker = createUnpacker({ threads: 1, stallMs: 2000 })
  const blob = join(root, 'stuck')
  execFileSync('mkfifo', [blob])
  const stuck = unpacker.unpack({ blob, folder, diffId: 'sha256:0' }, Promise.resolve([]))
  try {
    await expect(stuck).rejects.toThrow('nothing moved for 2 s')
  } finally {
    // Lets the thread go that waits for a writer: no process ends while one of its threads is within the kernel.
    // On a busy machine it may not even have come that far.
    const letGo = (): void => closeSync(openSync(blob, constants.O_WRONLY | constants.O_NONBLOCK))
    await expect.poll(letGo).toBeUndefined()
  }
  const tar = await tarOf([{ name: 'f', content: 'f' }])
  writeFileSync(join(root, 'fine'), tar)
  await unpacker.unpack({ blob: join(root, 'fine'), folder, diffId: sha256(tar) }, Promise.resolve([]))
  expect(readdirSync(folder)).toEqual(['f'])
})
