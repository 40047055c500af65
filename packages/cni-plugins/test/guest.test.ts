import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

const files = ['bridge-vlan', 'guest-links', 'tap-selinux', 'vrf', 'suite']

// The machine may lack vlan, dummy, ipvlan, vrf, VLANs of bridges and SELinux.
test.skipIf(process.env['UML'])(
  'in the guest: VLANs of bridges, vlan, dummy, ipvlan, vrf, labels',
  { timeout: guestTestMs },
  async () =>
    testInGuest(
      files.map((name) => `packages/cni-plugins/test/${name}.test.ts`),
      '1G',
    ),
)
