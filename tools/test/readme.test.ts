import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'

const packages = resolve(import.meta.dirname, '../../packages')

// cri-api's example talks to a runtime's socket, so its own tests stand for it.
test.each([
  ['linux', '{}\n'],
  ['kubelet-core', ''],
])('the first example of %s runs as printed', (name, output) => {
  const readme = readFileSync(join(packages, name, 'README.md'), 'utf8')
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  const file = join(packages, name, 'test', `readme-example-${process.pid}.ts`)
  writeFileSync(file, example, { flag: 'wx' })
  try {
    const node = process.execPath
    expect(example).toContain(`from '@nodelet/${name}'`)
    expect(execFileSync(node, ['--conditions=@nodelet/source', file], { encoding: 'utf8', timeout: 20_000 })).toBe(
      output,
    )
  } finally {
    rmSync(file)
  }
})
