import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

test('the benchmark of pod networks measures everything and leaves nothing', () => {
  const before = readdirSync('/tmp').filter((entry) => entry.startsWith('nodelet-bench-cni-'))
  const program = resolve(import.meta.dirname, '../../bench/cni.ts')
  const args = ['--conditions=@nodelet/source', program, '--single', '1', '--at-once', '2', '--rounds', '1']
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 50_000 })
  expect(status, stderr).toBe(0)
  const [, plain = '', rules = ''] = stdout.split(/^(?:loopback|the same).*\n/m)
  for (const part of [plain, rules]) {
    for (const row of [
      'ADD',
      'DEL',
      'DEL, and the namespace goes',
      '2 pods at once: ADD of all',
      '2 pods at once: DEL of all',
    ])
      expect(part).toMatch(new RegExp(`^  ${row} +(?:[\\d.]+ \\[[\\d.]+\\] +){3}[\\d.]+ +[\\d.]+$`, 'm'))
  }
  expect(readdirSync('/tmp').filter((entry) => entry.startsWith('nodelet-bench-cni-'))).toEqual(before)
})
