import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

// The machine may lack IPVS and dummy devices.
test.skipIf(process.env['UML'])('the mode ipvs in the guest', { timeout: guestTestMs }, async () =>
  testInGuest(
    ['packages/proxy-rules/test/packets/packets.test.ts', 'packages/proxy-rules/test/ipvs-proxier.test.ts'],
    '1G',
  ),
)
