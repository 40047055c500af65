import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const places = ['/tmp', '/run', '/sys/fs/cgroup', '/sys/fs/cgroup/memory'].filter((folder) => existsSync(folder))

test('the benchmark of the node measures everything and leaves nothing', () => {
  const sizes = ['--single', '1', '--bursts', '2', '--rest', '0,2', '--seconds', '1']
  const program = resolve(import.meta.dirname, '../../bench/kubelet.ts')
  const args = ['--conditions=@nodelet/source', program, ...sizes]
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 100_000 })
  expect(status, stderr).toBe(0)
  expect(stdout).toMatch(/^ {2}create → Running in the API +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$/m)
  expect(stdout).toMatch(/^ {2}delete → gone from the API +[\d.]+/m)
  expect(stdout).toMatch(/^and asks the API server: .*PATCH pods\/status \d/m)
  expect(stdout).toMatch(/^after kill -9 with 1 pods the node is up in \d+ ms, a pod then in \d+/m)
  const [, name = '-'] = /nodelet-bench-(\w+)/.exec(stderr) ?? []
  expect(name).toMatch(/^\w{6}$/)
  expect(places.flatMap((place) => readdirSync(place)).filter((entry) => entry.includes(name))).toEqual([])
}, 120_000)
