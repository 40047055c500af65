import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

// The guest has one CPU: modules are loaded once for all files.
const once = ['--no-isolate', '--maxWorkers=1']
const files = ['update', 'monitor-cgroup', 'unified-hierarchy', 'selinux-enabled'].map(
  (name) => `packages/runtime-runc/test/${name}.test.ts`,
)
const root = resolve(import.meta.dirname, '../../..')

// The machine may have v1 only and no SELinux: a guest with its own kernel has both.
test.skipIf(process.env.UML)(
  'cgroups v2: limits and monitors are where they belong, the service is as any runtime; SELinux labels',
  { timeout: 500_000 },
  async () => {
    const inGuest = ['-d', '0', '-m', '1G', '-t', '480', '--', join(root, 'node_modules/.bin/vitest'), 'run']
    const { stdout } = await promisify(execFile)(
      join(root, 'tools/uml-run'),
      [...inGuest, '--root', root, '--testTimeout', '60000', ...once, ...files],
      { cwd: root, env: { ...process.env, NO_COLOR: '1' } },
    )
    expect(stdout).toMatch(/Tests +[1-9]\d* passed \(/)
  },
)
