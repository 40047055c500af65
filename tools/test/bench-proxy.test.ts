import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const program = resolve(import.meta.dirname, '../../bench/proxy.ts')
const bench = (...options: string[]) =>
  spawnSync(process.execPath, ['--conditions=@nodelet/source', program, ...options], {
    encoding: 'utf8',
    timeout: 100_000,
  })

test('the benchmark of the proxy measures everything and leaves nothing', () => {
  const modes = ['iptables-nft', 'nftables-fast']
  const options = ['--sizes', '50x3', '--modes', modes.join(','), '--changes', '2', '--seconds', '0.1']
  const { stdout, stderr, status } = bench(...options)
  expect(status, stderr).toBe(0)
  for (const mode of modes) {
    const name = `  50 × 3, ${mode} `
    const rows = stdout.split('\n').filter((line) => line.startsWith(name))
    const figures = rows.map((row) => row.slice(name.length).trim().split(/ +/))
    expect(
      figures.map((row) => row.length),
      stdout,
    ).toEqual([11, 8, 5, 5])
    for (const figure of figures.flat()) expect(figure).toMatch(/^\d+(\.\d+)?$/)
  }
  const [, folder = ''] = /^• in (\S+)$/m.exec(stderr) ?? []
  expect(folder).toMatch(/nodelet-bench-/)
  expect(existsSync(folder)).toBe(false)
  expect(bench('--sizes', '10x').stderr).toContain('--sizes: "10x" is no size')
}, 120_000)
