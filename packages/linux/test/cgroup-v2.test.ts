import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '../../..')

// The machine may have v1 only: a guest with its own kernel has v2.
test.skipIf(process.env.UML)('all of this holds on cgroup v2', { timeout: 180_000 }, async () => {
  const inGuest = ['-d', '0', '-t', '150', '--', join(root, 'node_modules/.bin/vitest'), 'run', '--root', root]
  const { stdout } = await promisify(execFile)(
    join(root, 'tools/uml-run'),
    [...inGuest, 'packages/linux/test/cgroup.test.ts'],
    { cwd: root, env: { ...process.env, NO_COLOR: '1' } },
  )
  expect(stdout).toMatch(/Tests +[1-9]\d* passed \(/)
})
