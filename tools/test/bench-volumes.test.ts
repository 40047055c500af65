import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const program = resolve(import.meta.dirname, '../../bench/volumes.ts')
const places = ['/tmp', '/run', '/sys/fs/cgroup', '/sys/fs/cgroup/memory'].filter((folder) => existsSync(folder))
const kinds = [
  'no volume',
  'emptyDir',
  'emptyDir in memory',
  'hostPath',
  'configMap',
  'secret',
  'projected with a token',
  'downwardAPI',
  'CSI inline, tmpfs',
  'CSI persistent, hostpath',
]

// The whole node is that of bench-kubelet.test.ts: here it is left out.
test('the benchmark of volumes measures every kind and leaves nothing', () => {
  const sizes = ['--rounds', '1', '--many', '0,10', '--seconds', '0.1', '--changes', '2', '--pods', '0']
  const args = ['--conditions=@nodelet/source', program, ...sizes]
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 100_000 })
  expect(status, stderr).toBe(0)
  const [, ofKinds = '', ofMany = ''] = stdout.split(/^(?:ms, medians|volumes of a configMap each).*\n/m)
  const rows = ofKinds.split('\n').filter((line) => line.startsWith('  '))
  const figures = new Map(rows.map((row) => [row.slice(2, 28).trim(), row.slice(28).trim().split(/ +/)]))
  expect([...figures.keys()], stdout).toEqual(kinds)
  for (const [kind, row] of figures) {
    const isBare = kind !== 'no volume' && kind !== 'hostPath'
    const figure = expect.stringMatching(/^\d+(\.\d+)?$/) as string
    const bare = isBare ? figure : '–'
    expect([kind, ...row]).toEqual([kind, figure, figure, figure, figure, figure, bare, bare, figure])
    expect(Number(row[4]) > 0, `${kind}: ${row[4]} ms in a driver`).toBe(kind.startsWith('CSI'))
  }
  expect(ofMany).toMatch(/^ {2}10( +\d+(\.\d+)?){9}$/m)
  const [, name = '-'] = /nodelet-bench-(\w+)/.exec(stderr) ?? []
  expect(name).toMatch(/^\w{6}$/)
  expect(places.flatMap((place) => readdirSync(place)).filter((entry) => entry.includes(name))).toEqual([])
}, 120_000)
