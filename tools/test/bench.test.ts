import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { readMountInfo } from '@nodelet/linux'
import { expect, test } from 'vitest'

const made = (folder: string): string[] => readdirSync(folder).filter((name) => /^(nodelet-bench-|nb-)/.test(name))
const places = ['/tmp', '/run', '/sys/fs/cgroup', '/sys/fs/cgroup/memory'].filter((folder) => existsSync(folder))

test('the benchmark of the runtime measures everything and leaves nothing', async () => {
  const before = places.map(made)
  const sizes = ['--single', '1', '--burst', '2', '--rounds', '1', '--pods', '2', '--pulls', '1', '--megabytes', '5']
  const program = resolve(import.meta.dirname, '../../bench/runtime.ts')
  const args = ['--conditions=@nodelet/source', program, ...sizes, '--no-containerd']
  const printed = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 50_000, stdio: 'pipe' })
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
  for (const row of rows) expect(printed).toMatch(new RegExp(`^  ${row} +\\d`, 'm'))
  expect(places.map(made)).toEqual(before)
  expect((await readMountInfo()).filter(({ mountPoint }) => /nodelet-bench-|\/nb-/.test(mountPoint))).toEqual([])
})
