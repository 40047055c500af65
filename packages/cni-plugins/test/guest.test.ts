import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

// The machine may lack VLANs of bridges: a guest has them.
test.skipIf(process.env.UML)('VLANs hold in the guest', { timeout: guestTestMs }, async () =>
  testInGuest(['packages/cni-plugins/test/bridge-vlan.test.ts'], '1G'),
)
