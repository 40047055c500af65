import { constants, lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { getXattr, makeNode, setTimes, setXattr } from '../src/index.ts'

let folder: string
const at = (name: string) => join(folder, name)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-files-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('attributes are kept as bytes, and belong to the link when it is one', () => {
  writeFileSync(at('file'), '')
  symlinkSync('nowhere', at('link'))
  const value = Buffer.from([0, 1, 255, 0])
  setXattr(at('file'), 'trusted.note', value)
  setXattr(at('link'), 'trusted.note', Buffer.from('link'))
  expect(getXattr(at('file'), 'trusted.note')).toEqual(value)
  expect(getXattr(at('link'), 'trusted.note')?.toString()).toBe('link')
  expect(getXattr(at('file'), 'trusted.other')).toBeUndefined()
  expect(() => getXattr(at('missing'), 'trusted.note')).toThrow(`ENOENT: lgetxattr trusted.note of ${at('missing')}`)
})

test('device nodes work, with numbers beyond a byte', () => {
  makeNode(at('zero'), constants.S_IFCHR | 0o600, 1, 3)
  expect(readFileSync(at('zero'))).toHaveLength(0)
  makeNode(at('wide'), constants.S_IFBLK | 0o600, 259, 70_000)
  expect(statSync(at('wide')).rdev).toBe(((70_000 & 0xff) | (259 << 8)) + (70_000 - (70_000 & 0xff)) * 4096)
  makeNode(at('pipe'), constants.S_IFIFO | 0o600)
  expect(statSync(at('pipe')).isFIFO()).toBe(true)
  expect(() => makeNode(at('pipe'), constants.S_IFIFO)).toThrow(`EEXIST: mknod ${at('pipe')}`)
})

test('times are exact to the nanosecond, also before 1970 and of a link itself', () => {
  writeFileSync(at('file'), '')
  symlinkSync('file', at('link'))
  setTimes(at('file'), -1n, 1_700_000_000_123_456_789n)
  setTimes(at('link'), 5n, -152_218_432_876_543_211n)
  const timesOf = (path: string): bigint[] => {
    const { atimeNs, mtimeNs } = lstatSync(path, { bigint: true })
    return [atimeNs, mtimeNs]
  }
  expect(timesOf(at('file'))).toEqual([-1n, 1_700_000_000_123_456_789n])
  expect(timesOf(at('link'))).toEqual([5n, -152_218_432_876_543_211n])
  setTimes(at('file'), 0n, 10n ** 30n) // clamped by the file system
  expect(() => setTimes(at('missing'), 0n, 0n)).toThrow(`ENOENT: utimensat ${at('missing')}`)
})
