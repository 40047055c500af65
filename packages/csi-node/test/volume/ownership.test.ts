import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mount, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { giveToGroup } from '../../src/volume/ownership.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ownership-'))
})
afterEach(() => rmSync(root, { recursive: true }))
const facts = (path: string | Buffer): string => {
  const { gid, mode } = lstatSync(path)
  return `${gid} ${(mode & 0o7777).toString(8)}`
}

/** With so many files beside those that are looked at. */
function fill(files: number): Buffer {
  mkdirSync(join(root, 'deep/er'), { recursive: true })
  writeFileSync(join(root, 'deep/er/file'), '', { mode: 0o400 })
  symlinkSync('/etc/hostname', join(root, 'link'))
  const odd = Buffer.concat([Buffer.from(`${root}/deep/`), Buffer.from([0xff, 0xfe])])
  writeFileSync(odd, '')
  for (let left = files; left > 0; left--) writeFileSync(join(root, 'deep/er', String(left)), '')
  return odd
}

test.each([
  ['a few files', 1000],
  ['many files', 10],
])('%s are the group’s, and links stay links', async (_, mostHere) => {
  const count = 30
  const odd = fill(count)
  const before = facts('/etc/hostname')
  await giveToGroup(root, { gid: 4321, mostHere })
  expect(['', 'deep', 'deep/er'].map((path) => facts(join(root, path)))).toEqual(
    Array(3).fill('4321 2775').with(0, '4321 2770'),
  )
  expect([facts(join(root, 'deep/er/file')), facts(odd), facts(join(root, `deep/er/${count}`))]).toEqual([
    '4321 660',
    '4321 664',
    '4321 664',
  ])
  expect([facts(join(root, 'link')), facts('/etc/hostname')]).toEqual(['4321 777', before])
  writeFileSync(join(root, 'new'), '')
  await giveToGroup(root, { gid: 4321, policy: 'OnRootMismatch' })
  expect(facts(join(root, 'new'))).toBe('4321 644')
  await giveToGroup(root, { gid: 4321, mostHere })
  expect(facts(join(root, 'new'))).toBe('4321 664')
})

test('one that is ended leaves the root as it was', async () => {
  fill(30)
  const ending = new AbortController()
  const work = giveToGroup(root, { gid: 4321, mostHere: 10, signal: ending.signal })
  setImmediate(() => ending.abort(new Error('enough')))
  await expect(work).rejects.toThrow('enough')
  expect(facts(root)).toBe('0 700')
})

test('without anything to give it fails, or tells', async () => {
  const none = join(root, 'none')
  await giveToGroup(none, { gid: 1 })
  const failed: string[] = []
  // Of the kernel's: nobody changes its owner.
  const fixed = existsSync('/proc/self/stat') ? '/proc/self/stat' : ''
  await giveToGroup(fixed, { gid: 1, failed: (path) => failed.push(path) })
  expect(failed).toEqual([fixed])
  await expect(giveToGroup(fixed, { gid: 1 })).rejects.toThrow('EPERM')
})

test.each([
  ['here', 1000],
  ['by a thread', 0],
])('what is mounted in a volume keeps its groups, given %s', async (_, mostHere) => {
  fill(5)
  const inner = join(root, 'deep/er')
  const file = join(inner, 'precious')
  mount({ source: 'other', target: inner, type: 'tmpfs', options: ['mode=0700'] })
  try {
    writeFileSync(file, '', { mode: 0o600 })
    await giveToGroup(root, { gid: 4321, mostHere })
    expect([facts(root), facts(join(root, 'deep'))]).toEqual(['4321 2770', '4321 2775'])
    expect([facts(inner), facts(file)]).toEqual(['0 700', '0 600'])
  } finally {
    unmount(inner)
  }
})
