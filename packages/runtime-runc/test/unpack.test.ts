import { createHash } from 'node:crypto'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { getXattr, makeNode, setXattr } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { unpackLayer } from '../src/snapshot/unpack.ts'
import type { Unpacked } from '../src/snapshot/entry-writer.ts'
import { sha256, tarOf } from './registry.ts'
import type { TarEntry } from './registry.ts'

let root: string
/** Topmost first. */
let lowers: string[]

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-unpack-'))
  lowers = []
})
afterEach(() => rmSync(root, { recursive: true }))

async function unpackTar(tar: Buffer, compress: (tar: Buffer) => Buffer = gzipSync): Promise<Unpacked> {
  const folder = join(root, String(lowers.length))
  mkdirSync(folder)
  writeFileSync(`${folder}.blob`, compress(tar))
  const unpacked = await unpackLayer({ blob: `${folder}.blob`, folder, diffId: sha256(tar) }, () => lowers)
  lowers = [folder, ...lowers]
  return unpacked
}

/** Puts one layer on top and answers its folder. */
async function add(...entries: TarEntry[]): Promise<string> {
  await unpackTar(await tarOf(entries))
  return lowers[0] ?? ''
}

const modeOf = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8)
const isHidden = (path: string): boolean => lstatSync(path).isCharacterDevice() && lstatSync(path).rdev === 0
const opaque = (path: string): string | undefined => getXattr(path, 'trusted.overlay.opaque')?.toString()

test('a hard link never reads the host through a symlink that an upper layer has replaced', async () => {
  writeFileSync(join(root, 'secret'), 'of the host')
  await add({ name: 'a', type: 'symlink', linkname: root })
  await add({ name: 'a/', type: 'directory' })
  await expect(add({ name: 'stolen', type: 'link', linkname: 'a/secret' })).rejects.toThrow(
    'entry "stolen": hard link to a/secret: no such file in the image',
  )
})

test('a hard link sees neither below an opaque folder nor below a whiteout', async () => {
  await add({ name: 'a/', type: 'directory' }, { name: 'a/x', content: 'x' }, { name: 'y', content: 'y' })
  await add({ name: 'a/.wh..wh..opq' }, { name: '.wh.y' })
  await expect(add({ name: 'n', type: 'link', linkname: 'a/x' })).rejects.toThrow('no such file in the image')
  lowers = lowers.slice(0, 2)
  rmSync(join(root, '2'), { recursive: true })
  await expect(add({ name: 'n', type: 'link', linkname: 'y' })).rejects.toThrow('no such file in the image')
})

test('what a hard link takes from below keeps owner, mode and capabilities', async () => {
  const below = await add({ name: 'tool', mode: 0o4755, uid: 3, gid: 4, content: 'tool', mtime: new Date(5000) })
  const capability = Buffer.from('0100000200200080000000000000000000000000', 'hex')
  setXattr(join(below, 'tool'), 'security.capability', capability)
  const folder = await add({ name: 'twin', type: 'link', linkname: 'tool' })
  const { uid, gid, ino, mtimeMs } = lstatSync(join(folder, 'twin'))
  expect({ uid, gid, mtimeMs, mode: modeOf(join(folder, 'twin')) }).toEqual({
    uid: 3,
    gid: 4,
    mtimeMs: 5000,
    mode: '4755',
  })
  expect(lstatSync(join(folder, 'tool')).ino).toBe(ino)
  expect(getXattr(join(folder, 'twin'), 'security.capability')).toEqual(capability)
})

test('a hard link to a symlink links the symlink', async () => {
  const folder = await add(
    { name: 's', type: 'symlink', linkname: '/etc/passwd' },
    { name: 't', type: 'link', linkname: 's' },
  )
  expect(readlinkSync(join(folder, 't'))).toBe('/etc/passwd')
})

test('folders that are only on the way keep the owner and all mode bits of the layer below', async () => {
  await add({ name: 'tmp/', type: 'directory', mode: 0o1777, uid: 5, gid: 6 })
  const folder = await add({ name: 'tmp/x', content: 'x' }, { name: 'new/y', content: 'y' })
  expect(modeOf(join(folder, 'tmp'))).toBe('1777')
  expect(lstatSync(join(folder, 'tmp'))).toMatchObject({ uid: 5, gid: 6 })
  expect(modeOf(join(folder, 'new'))).toBe('755')
})

test.each<[string, TarEntry[], (folder: string) => void]>([
  [
    'a whiteout, then something inside',
    [{ name: '.wh.w' }, { name: 'w/new', content: 'n' }],
    (folder) => expect([opaque(join(folder, 'w')), readdirSync(join(folder, 'w'))]).toEqual(['y', ['new']]),
  ],
  [
    'a whiteout, then a folder',
    [{ name: '.wh.w' }, { name: 'w/', type: 'directory', mode: 0o700 }],
    (folder) => expect([opaque(join(folder, 'w')), modeOf(join(folder, 'w'))]).toEqual(['y', '700']),
  ],
  [
    'something inside, then a whiteout',
    [{ name: 'w/new', content: 'n' }, { name: '.wh.w' }],
    (folder) => expect([opaque(join(folder, 'w')), readdirSync(join(folder, 'w'))]).toEqual(['y', ['new']]),
  ],
  [
    'a file, then its whiteout',
    [{ name: 'w', content: 'n' }, { name: '.wh.w' }],
    (folder) => expect(readFileSync(join(folder, 'w'), 'utf8')).toBe('n'),
  ],
  [
    'a link to a file below, then the whiteout of that file',
    [{ name: 'twin', type: 'link', linkname: 'f' }, { name: '.wh.f' }],
    (folder) => expect([isHidden(join(folder, 'f')), readFileSync(join(folder, 'twin'), 'utf8')]).toEqual([true, 'f']),
  ],
  [
    "another union file system's files",
    [
      { name: '.wh..wh.plnk/', type: 'directory' },
      { name: '.wh..wh.plnk/1', content: 'x' },
    ],
    (folder) => expect(readdirSync(folder)).toEqual([]),
  ],
])('%s', async (_, entries, check) => {
  await add({ name: 'w/', type: 'directory' }, { name: 'w/old', content: 'o' }, { name: 'f', content: 'f' })
  check(await add(...entries))
})

test('a layer whose root is opaque says so', async () => {
  expect(await unpackTar(await tarOf([{ name: '.wh..wh..opq' }]))).toEqual({
    hidesAll: true,
    skipped: [],
  })
})

test('long numbers and fine times come from the extended header', async () => {
  const folder = await add({ name: 'm', content: 'm', pax: { mtime: '1700000000.25', uid: '3000000', gid: '3000001' } })
  expect(lstatSync(join(folder, 'm'))).toMatchObject({ mtimeMs: 1_700_000_000_250, uid: 3_000_000, gid: 3_000_001 })
})

test('attributes are bytes, not text', async () => {
  const value = Buffer.from('01000002ff00808000000000fe00000000000000', 'hex')
  // The packer writes text only: a mark of the same length is replaced in the finished tar.
  const mark = 'x'.repeat(value.length)
  const tar = await tarOf([
    { name: 'before', content: 'b'.repeat(700) },
    { name: `${'long/'.repeat(40)}name`, content: 'c', pax: { 'SCHILY.xattr.security.capability': mark } },
    { name: 'after', content: 'a', pax: { 'LIBARCHIVE.xattr.user.note': Buffer.from('hi').toString('base64') } },
  ])
  value.copy(tar, tar.indexOf(mark))
  await unpackTar(tar)
  expect(getXattr(join(lowers[0] ?? '', 'long/'.repeat(40), 'name'), 'security.capability')).toEqual(value)
  expect(getXattr(join(lowers[0] ?? '', 'after'), 'user.note')?.toString()).toBe('hi')
})

test.each<[string, TarEntry[], string]>([
  [
    "overlay's own attributes",
    [{ name: 'd/', type: 'directory', pax: { 'SCHILY.xattr.trusted.overlay.redirect': '/x' } }],
    'entry "d/": attribute trusted.overlay.redirect',
  ],
  ['a whiteout of the parent', [{ name: 'q/.wh...' }], 'entry "q/.wh...": a whiteout of nothing'],
  ['a root that is no folder', [{ name: './', type: 'symlink', linkname: '/' }], 'the root of a layer is a folder'],
  [
    'symlinks in a circle',
    [
      { name: 'a', type: 'symlink', linkname: 'b' },
      { name: 'b', type: 'symlink', linkname: 'a' },
      { name: 'a/x', content: 'x' },
    ],
    'entry "a/x": a: too many symlinks',
  ],
  [
    'a file on the way',
    [
      { name: 'f', content: '' },
      { name: 'f/x', content: '' },
    ],
    'entry "f/x": f: not a folder',
  ],
])('%s: refused', async (_, entries, message) => {
  await expect(add(...entries)).rejects.toThrow(message)
})

test('every kind of special file', async () => {
  const folder = await add(
    { name: 'c', type: 'character-device', devmajor: 1, devminor: 300, mode: 0o666 },
    { name: 'b', type: 'block-device', devmajor: 7, devminor: 1, mode: 0o660 },
    { name: 'p', type: 'fifo', mode: 0o622 },
  )
  expect(lstatSync(join(folder, 'c')).isCharacterDevice()).toBe(true)
  expect(modeOf(join(folder, 'c'))).toBe('666')
  makeNode(join(root, 'same'), 0o020000, 1, 300)
  expect(lstatSync(join(folder, 'c')).rdev).toBe(lstatSync(join(root, 'same')).rdev)
  expect(lstatSync(join(folder, 'b')).isBlockDevice()).toBe(true)
  expect(modeOf(join(folder, 'p'))).toBe('622')
})

const skippable = Buffer.from('502a4d180400000001020304', 'hex')

test.each<[string, (tar: Buffer) => Buffer]>([
  ['plain', (tar) => tar],
  ['gzip in members', (tar) => Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))])],
  ['zstd', (tar) => zstdCompressSync(tar)],
  [
    'zstd in frames with a table of contents',
    (tar) =>
      Buffer.concat([skippable, zstdCompressSync(tar.subarray(0, 9)), zstdCompressSync(tar.subarray(9)), skippable]),
  ],
])('%s', async (_, compress) => {
  await unpackTar(await tarOf([{ name: 'f', content: 'content' }]), compress)
  expect(readFileSync(join(lowers[0] ?? '', 'f'), 'utf8')).toBe('content')
})

test('what is not the layer that the image names is an error with both digests', async () => {
  const tar = await tarOf([{ name: 'f', content: 'content' }])
  const folder = join(root, 'f')
  mkdirSync(folder)
  writeFileSync(`${folder}.blob`, tar)
  const diffId = `sha256:${createHash('sha256').digest('hex')}`
  await expect(unpackLayer({ blob: `${folder}.blob`, folder, diffId }, () => [])).rejects.toThrow(
    `layer is corrupt: it unpacks to ${sha256(tar)}, its image says ${diffId}`,
  )
  writeFileSync(`${folder}.blob`, tar.subarray(0, 700))
  await expect(unpackLayer({ blob: `${folder}.blob`, folder, diffId }, () => [])).rejects.toThrow()
})
