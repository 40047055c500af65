import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../../tools/test/in-guest.ts'

// The machine may lack kinds of links: a guest has all of them, and an older kernel.
const files = [
  'kinds',
  'links',
  'addresses',
  'routes',
  'bridge',
  'conntrack',
  'features',
  'ipsets',
  'ipvs',
  'accounting',
].map((name) => `packages/linux/test/netlink/${name}.test.ts`)
test.skipIf(process.env.UML)('all of this holds in the guest', { timeout: guestTestMs }, async () =>
  testInGuest(files, '1G'),
)
