// A reset never empties a volume: on real mounts, in a mount namespace of the test's own.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

let base: string
let results: Record<string, unknown>
beforeAll(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'folders-')))
  const program = [process.execPath, '--conditions=@nodelet/source', join(import.meta.dirname, 'run.ts'), base]
  const text = execFileSync('unshare', ['-m', '--propagation', 'private', ...program], { encoding: 'utf8' })
  results = JSON.parse(text) as typeof results
})
afterAll(() => rmdirSync(base))

test('what is mounted is unmounted, also below a shared folder, and keeps its data; loop devices are given back', () => {
  expect(results['mounts']).toEqual({ hadLoop: 1, loops: [], left: ['driver'], mounts: [], data: 'data' })
})

test('links on the way to the folder change nothing', () => {
  expect(results['behind a link']).toEqual({
    inside: [],
    left: ['driver', 'link', 'real'],
    mounts: [],
    data: 'data',
  })
  expect(results['a link']).toBe(false)
})

test('what the machine has mounted on a folder that a pod has as a volume stays mounted', () => {
  const outcome = [['precious'], ['precious'], false]
  expect([results['shared: all'], results['shared: the kubelet’s folder']]).toEqual([outcome, outcome])
})

test('a folder that is a disk of its own stays, empty', () => {
  expect(results['a mount itself']).toEqual({ inside: [], mounts: ['/disk'] })
})

test('what a kill left is removed by the next', () => {
  expect(results['after a kill']).toBe(false)
})

test('a kubelet’s folder elsewhere loses what the node put there; what was there before stays', () => {
  expect(results['a folder of others']).toEqual({
    inside: ['config.yaml', 'disk'],
    mounts: ['/var/kubelet', '/var/kubelet/disk'],
    loops: [0, 1],
    data: 'data',
  })
  expect(results['a folder of its own']).toEqual(['kubelet'])
})
