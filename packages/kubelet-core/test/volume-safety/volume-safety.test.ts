// No volume of others is ever emptied: on real mounts, in a mount namespace of the test's own.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

let base: string
let results: Record<string, unknown>
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'volumes-'))
  const program = [process.execPath, '--conditions=@nodelet/source', join(import.meta.dirname, 'run.ts'), base]
  const text = execFileSync('unshare', ['-m', '--propagation', 'private', ...program], { encoding: 'utf8' })
  results = JSON.parse(text) as typeof results
})
afterAll(() => {
  expect(readdirSync(base)).toEqual([])
  rmdirSync(base)
})

const path = (plugin: string): string => `/pods/uid/volumes/kubernetes.io~${plugin}/v`

test.each([
  ['csi', '/mount'],
  ['local-volume', ''],
  ['nfs', ''],
  ['empty-dir', ''],
  ['some-other', ''],
])(
  'a full volume of kind %s that is in use stays whole and mounted; free, it is unmounted and no more',
  (kind, below) => {
    expect(results[kind]).toEqual({
      refused: `EBUSY: umount2 ${path(kind)}${below}`,
      stays: true,
      after: 'done',
      left: [],
      whole: true,
      mounts: [],
    })
  },
)

test('files where a mount was lost stay', () => {
  expect(results['unmounted']).toEqual({ refused: true, left: ['written-without-a-mount'] })
  expect(results['nfs unmounted']).toEqual({
    refused: `${path('nfs')} is not mounted and not empty: it has file, which stays`,
    left: ['file'],
  })
})

test('a removal never enters a mount or follows a link, and goes to any depth', () => {
  expect(results['bind']).toEqual({ refused: true, whole: true })
  expect(results['deep']).toEqual({ gone: true, whole: true })
})

test('a link in the place of a folder of the pod goes, and nothing that it leads to is touched', () => {
  const { outcomes, isWhole } = results['links'] as { outcomes: Record<string, unknown>; isWhole: boolean }
  expect([
    Object.keys(outcomes).length,
    Object.values(outcomes).filter((one) => JSON.stringify(one) !== '["done",[]]'),
  ]).toEqual([11, []])
  expect(isWhole).toBe(true)
})

test('no sub path is bound through such a link', () => {
  const outcomes = results['sub path links'] as Record<string, unknown[]>
  expect(Object.keys(outcomes)).toHaveLength(4)
  for (const [place, outcome] of Object.entries(outcomes)) {
    const what = 'failed to prepare subPath for volumeMount "v" of container "c"'
    expect([place, ...outcome]).toEqual([place, `${what}: /pods/uid/${place} is a link, which is not followed`, [], 0])
  }
})

test('sub paths are unmounted, and only what is empty is removed', () => {
  expect(results['sub paths']).toEqual({ after: 'done', left: [], whole: true })
})

test('the root is made a shared mount once, with all that is mounted below', () => {
  const mounts = [
    ['/pods/below', false],
    ['', true],
    ['/pods/below', true],
  ]
  expect(results['shared']).toEqual({ once: mounts, twice: mounts, whole: true })
})

test('what the machine mounts on a folder that pods have as a volume stays mounted there, and in other pods', () => {
  expect(results['shared below']).toEqual({
    before: ['precious', 'precious', 'precious'],
    outcome: 'done',
    host: ['precious'],
    other: ['precious'],
    left: [['uid-2'], 'done', ['precious']],
  })
})

test('what a pod mounts on its volume goes with it, also from the disk of all pods', () => {
  expect([results['of the pod'], results['disk']]).toEqual([[2, 'done', 1], 0])
})

test('a mount of another pod’s folder in the place of the pod’s own is unmounted, and nothing in it is touched', () => {
  const outcome = ['done', true, ['other']]
  expect(results['covered']).toEqual({
    '': outcome,
    volumes: outcome,
    'volumes/kubernetes.io~empty-dir': outcome,
  })
})

test('a removal of deep folders that was cut short is ended by the next', () => {
  expect(results['cut short']).toEqual(['done', false])
})

test('a server that cannot be reached leaves no folder, and what mount said', () => {
  expect(results['nfs refused']).toEqual({
    refused: [
      expect.stringMatching(/^mount failed: exit status \d+$/),
      'Mounting command: mount',
      'Mounting arguments: -t nfs -o retry=0,ro [::1]:/none /nfs',
    ],
    isThere: false,
  })
})

test('a local folder has the group of its first pod, and is read-only where it is asked for', () => {
  expect(results['local']).toEqual({
    gids: [4321, 4321],
    groups: [0, 77],
    told: ['The requested fsGroup is 77, but the volume pv has GID 4321. The volume may not be shareable.'],
    // What the mount that it is on does not allow, its bind does not either.
    readOnly: ['nodiratime,nosuid,relatime,rw', 'nodiratime,nosuid,relatime,ro', 'nodiratime,nosuid,relatime,rw'],
    missing: 'path "/none" does not exist',
  })
})

test('a file system whose program is dead, or does not answer, is unmounted, and keeps nobody waiting', () => {
  const { hung } = results['fuse'] as { hung: string }
  expect(results['fuse']).toEqual({
    dead: 'ENOTCONN',
    answer: `${hung} does not answer`,
    size: true,
    down: ['done', 'done'],
    sdk: ['done', true, true, false, 'done', false, true],
    left: [[], []],
    hung,
  })
})
