// A writer that is killed at any moment: readers never see half of a generation, and the next writer leaves no litter.
import { spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { mount, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { writeAtomicFolder } from '../src/volume/atomic-folder.ts'
import type { Payload } from '../src/volume/payload.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-atomic-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const names = ['a', 'deep/b', 'c']
const payload = (value: string): Payload =>
  new Map(names.map((name) => [name, { data: Buffer.from(value), mode: 0o644 }]))

const endlessWriter = `
  import { writeAtomicFolder } from ${JSON.stringify(new URL('../src/volume/atomic-folder.ts', import.meta.url).href)}
  for (let turn = 0; ; turn += 1) {
    const files = ${JSON.stringify(names)}.map((name) => [name, { data: Buffer.from(String(turn)), mode: 0o644 }])
    await writeAtomicFolder(process.argv[1], new Map(files), { now: Date.now() })
    if (turn === 0) console.log('writing')
  }`

const valuesIn = (generation: string): Set<string> =>
  new Set(names.map((name) => readFileSync(join(folder, generation, name), 'utf8')))

test('killed at any moment', async () => {
  for (let round = 0; round < 8; round += 1) {
    const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', endlessWriter, folder]
    const writer = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = once(writer, 'close')
    await once(writer.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
    writer.kill('SIGKILL')
    await closed
    expect(valuesIn(readlinkSync(join(folder, '..data'))).size).toBe(1)
    await writeAtomicFolder(folder, payload(`round ${round}`), { now: Date.now() })
    const generation = readlinkSync(join(folder, '..data'))
    expect(valuesIn('.')).toEqual(new Set([`round ${round}`]))
    expect(readdirSync(folder).toSorted()).toEqual([generation, '..data', 'a', 'c', 'deep'].toSorted())
  }
})

test('a folder in the place of a file gives way when it is empty, and is in nobody’s way when it is not', async () => {
  await writeAtomicFolder(folder, new Map(), { now: 0 })
  for (const path of ['a', 'c/in-use', 'other']) mkdirSync(join(folder, path), { recursive: true })
  await writeAtomicFolder(folder, payload('1'), { now: 0, nested: ['mine/of'] })
  expect([readlinkSync(join(folder, 'a')), readFileSync(join(folder, 'deep/b'), 'utf8')]).toEqual(['..data/a', '1'])
  expect(readdirSync(folder).filter((name) => !name.startsWith('..'))).toEqual(['a', 'c', 'deep', 'mine'])
  expect([readdirSync(join(folder, 'c')), readdirSync(join(folder, 'mine'))]).toEqual([['in-use'], ['of']])
})

test('a disk that is full keeps what it shows, and no litter; what a kill left makes room', async () => {
  mount({ source: 'small', target: folder, type: 'tmpfs', options: ['size=256k'] })
  try {
    const ofSize = (bytes: number): Payload => new Map([['a', { data: Buffer.alloc(bytes, 'x'), mode: 0o644 }]])
    await writeAtomicFolder(folder, ofSize(80_000), { now: 0 })
    const before = readdirSync(folder)
    await expect(writeAtomicFolder(folder, ofSize(300_000), { now: 0 })).rejects.toThrow('ENOSPC')
    expect([readdirSync(folder), statSync(join(folder, 'a')).size]).toEqual([before, 80_000])
    mkdirSync(join(folder, '..2020_01_01_00_00_00.123'))
    writeFileSync(join(folder, '..2020_01_01_00_00_00.123/a'), Buffer.alloc(120_000))
    await writeAtomicFolder(folder, ofSize(100_000), { now: 0 })
    expect([readdirSync(folder).length, statSync(join(folder, 'a')).size]).toEqual([3, 100_000])
  } finally {
    unmount(folder)
  }
})

test('what a container has mounted in a volume is in no writer’s way, and stays whole', async () => {
  const disk = mkdtempSync(join(tmpdir(), 'nodelet-disk-'))
  writeFileSync(join(disk, 'precious'), '')
  await writeAtomicFolder(folder, payload('1'), { now: 0, nested: ['deep/er'] })
  const inner = realpathSync(join(folder, 'deep/er'))
  mount({ source: disk, target: inner, options: ['bind'] })
  try {
    await writeAtomicFolder(folder, payload('2'), { now: 0, nested: ['deep/er'] })
    expect([valuesIn('.'), readdirSync(disk)]).toEqual([new Set(['2']), ['precious']])
  } finally {
    unmount(inner)
    rmSync(disk, { recursive: true })
  }
  await writeAtomicFolder(folder, payload('3'), { now: 0 })
  expect(readdirSync(folder).filter((name) => name.startsWith('..'))).toHaveLength(2)
})

test('a container keeps what it has mounted in the folder when a file of the name comes', async () => {
  const disk = mkdtempSync(join(tmpdir(), 'nodelet-disk-'))
  writeFileSync(join(disk, 'precious'), '')
  await writeAtomicFolder(folder, new Map(), { now: 0, nested: ['a'] })
  const place = join(folder, 'a')
  const script = 'mount --bind "$0" "$1"; echo mounted; read answer; ls "$1"'
  const container = spawn('unshare', ['-m', '--propagation', 'private', 'sh', '-c', script, disk, place], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const closed = once(container, 'close')
  await once(container.stdout, 'data')
  const shown: Buffer[] = []
  container.stdout.on('data', (text: Buffer) => shown.push(text))
  await writeAtomicFolder(folder, payload('1'), { now: 0, nested: ['a'] })
  container.stdin.end('\n')
  await closed
  expect(Buffer.concat(shown).toString()).toBe('precious\n')
  expect(readdirSync(folder).filter((name) => !name.startsWith('..'))).toEqual(['a', 'c', 'deep'])
  rmSync(disk, { recursive: true })
})

test('who holds a generation reads it whole; an equal payload writes nothing, another mode does', async () => {
  expect(await writeAtomicFolder(folder, payload('1'), { now: 0 })).toBe(true)
  expect(readlinkSync(join(folder, '..data'))).toMatch(/^\.\.1970_01_01_00_00_00\.\d+$/)
  expect(await writeAtomicFolder(folder, payload('1'), { now: 0 })).toBe(false)
  const stricter = new Map([...payload('1')].map(([name, file]) => [name, { ...file, mode: 0o600 }]))
  expect(await writeAtomicFolder(folder, stricter, { now: 0 })).toBe(true)
})

test('a path that would be both file and folder is refused, and what was there stays', async () => {
  await writeAtomicFolder(folder, payload('1'), { now: 0 })
  const both = new Map([...payload('2'), ['a/b', { data: Buffer.from(''), mode: 0o644 }]])
  await expect(writeAtomicFolder(folder, both, { now: 0 })).rejects.toThrow('would be both a file and a folder')
  expect(valuesIn('.')).toEqual(new Set(['1']))
  await writeAtomicFolder(folder, payload('3'), { now: 0 })
  expect(readdirSync(folder).filter((name) => name.startsWith('..'))).toHaveLength(2)
})
