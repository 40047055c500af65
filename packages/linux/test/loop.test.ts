// Loop devices of the machine, with a file of the test's own.
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { attachLoop, detachLoop, loopsOf, loopsOfFile, resizeLoop } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'

let folder: string
let file: string
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'loop-')))
  file = join(folder, 'disk')
  writeFileSync(file, Buffer.alloc(1 << 20, 7))
})
afterEach(() => {
  for (const device of loopsOfFile(file)) detachLoop(device)
  rmSync(folder, { recursive: true })
})

const sectors = (device: string): number => Number(readFileSync(`/sys/block/${basename(device)}/size`, 'utf8'))

test('a file is a device that grows with it, until it is given back', () => {
  const loop = attachLoop(file)
  expect(loopsOf(file)).toEqual([loop.path])
  expect(readFileSync(loop.path)).toEqual(Buffer.alloc(1 << 20, 7))
  const grown = openSync(file, 'r+')
  ftruncateSync(grown, 2 << 20)
  closeSync(grown)
  expect(sectors(loop.path)).toBe(2048)
  resizeLoop(loop.path)
  expect(sectors(loop.path)).toBe(4096)
  detachLoop(loop.path)
  detachLoop(loop.path)
  expect(loopsOf(file)).toEqual([])
})

test('one that clears itself goes with its last user; a read-only one cannot be written', () => {
  {
    using loop = attachLoop(file, { autoClear: true, readOnly: true })
    expect(loopsOf(file)).toEqual([loop.path])
    expect(readFileSync(`/sys/block/${basename(loop.path)}/ro`, 'utf8')).toBe('1\n')
  }
  expect(loopsOf(file)).toEqual([])
})

test('one that was made where the file has another path, or none any more, is known all the same', () => {
  const program = `import('@nodelet/linux').then(({ attachLoop }) => console.log(attachLoop('/mnt/disk').path))`
  const run = `mount --bind "$1" /mnt && exec "$2" --conditions=@nodelet/source -e "$3"`
  const args = ['-m', '--propagation', 'private', 'sh', '-c', run, 'sh', folder, process.execPath, program]
  const path = execFileSync('unshare', args, { encoding: 'utf8', cwd: import.meta.dirname }).trim()
  expect([loopsOf(file), loopsOfFile(file)]).toEqual([[], [path]])
  writeFileSync(join(folder, 'other'), '')
  expect([...loopsOfFile(join(folder, 'other')), ...loopsOfFile(join(folder, 'none'))]).toEqual([])
})

test('what is no file is refused', () => {
  expect(() => attachLoop(join(folder, 'nothing'))).toThrow('ENOENT')
})
