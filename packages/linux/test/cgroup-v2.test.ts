import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

// The machine may have v1 only: a guest with its own kernel has v2.
test.skipIf(process.env.UML)('all of this holds on cgroup v2', { timeout: guestTestMs }, async () =>
  testInGuest(['packages/linux/test/cgroup.test.ts']),
)
