import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

const within = join(resolve(import.meta.dirname, '../../..'), 'tools/test/under-systemd')

// The machine may not run systemd: a guest runs one of its own.
test.skipIf(process.env.UML || !existsSync('/lib/systemd/systemd'))(
  'where systemd makes cgroups, pods are in its slices',
  { timeout: guestTestMs },
  async () => testInGuest(['packages/kubelet-core/test/systemd-slices.test.ts'], '1G', [within]),
)
