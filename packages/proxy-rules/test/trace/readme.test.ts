// The README's example of a trace prints what stands below it, and that of IPVS goes on from there.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('the examples of a trace and of IPVS run as printed', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const [first = '', second = '', third = ''] = [...readme.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => code)
  const [, printed = ''] = /```text\n([^]*?)```/.exec(readme) ?? []
  const file = join(import.meta.dirname, `readme-example-${process.pid}.ts`)
  writeFileSync(file, first.replace(/^console\.log.*$/m, '') + second + third, { flag: 'wx' })
  try {
    const args = ['--conditions=@nodelet/source', file]
    const output = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 })
    expect(output.slice(0, printed.length)).toBe(printed)
    const rest = output.slice(printed.length)
    for (const line of [
      'add KUBE-CLUSTER-IP 10.96.0.10,tcp:80',
      '-a -t 10.96.0.10:80 -r 10.244.1.9:8080 -m -w 1',
      "[ '10.96.0.10/32' ]",
      '-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ',
    ])
      expect(rest.split('\n')).toContain(line)
  } finally {
    rmSync(file)
  }
})
