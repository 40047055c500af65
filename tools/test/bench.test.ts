import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { readMountInfo } from '@nodelet/linux'
import { expect, test } from 'vitest'

const places = ['/tmp', '/run', '/sys/fs/cgroup', '/sys/fs/cgroup/memory'].filter((folder) => existsSync(folder))

test('the benchmark of the runtime measures everything and leaves nothing', async () => {
  const sizes = ['--single', '1', '--burst', '2', '--rounds', '1', '--pods', '2', '--pulls', '1', '--megabytes', '5']
  const program = resolve(import.meta.dirname, '../../bench/runtime.ts')
  const args = ['--conditions=@nodelet/source', program, ...sizes, '--no-containerd']
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 50_000 })
  expect(status, stderr).toBe(0)
  const rows = [
    'RunPodSandbox',
    'CreateContainer',
    'StartContainer',
    'ExecSync',
    'StopContainer',
    'StopPodSandbox',
    'RemovePodSandbox',
    'pods a second',
    'MiB/s unpacked',
    'MiB resident at the most',
    'event loop late, ms p99',
    'ListContainers',
    'beside the daemon per pod, proportional',
  ]
  for (const row of rows) expect(stdout).toMatch(new RegExp(`^  ${row} +\\d`, 'm'))
  const [, name = '-'] = /nodelet-bench-(\w+)/.exec(stderr) ?? []
  expect(name).toMatch(/^\w{6}$/)
  expect(places.flatMap((place) => readdirSync(place)).filter((entry) => entry.includes(name))).toEqual([])
  expect((await readMountInfo()).filter(({ mountPoint }) => mountPoint.includes(name))).toEqual([])
})
