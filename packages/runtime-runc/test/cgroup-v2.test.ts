import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

const files = ['update', 'monitor-cgroup', 'unified-hierarchy', 'selinux-enabled'].map(
  (name) => `packages/runtime-runc/test/${name}.test.ts`,
)

// The machine may have v1 only and no SELinux: a guest with its own kernel has both.
test.skipIf(process.env.UML)(
  'cgroups v2: limits and monitors are where they belong, the service is as any runtime; SELinux labels',
  { timeout: guestTestMs },
  async () => testInGuest(files, '1G'),
)
