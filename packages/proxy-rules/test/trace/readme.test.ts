// The README's example of a trace prints what stands below it.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('the example of a trace runs as printed', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const [first = '', second = ''] = [...readme.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => code)
  const [, printed = ''] = /```text\n([^]*?)```/.exec(readme) ?? []
  const file = join(import.meta.dirname, `readme-example-${process.pid}.ts`)
  writeFileSync(file, first.replace(/^console\.log.*$/m, '') + second, { flag: 'wx' })
  try {
    const args = ['--conditions=@nodelet/source', file]
    expect(execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 })).toBe(printed)
  } finally {
    rmSync(file)
  }
})
