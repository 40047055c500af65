import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../../tools/test/in-guest.ts'
import { maySetResources } from './capability.ts'

// Growing ext4 under a pod wants a privilege that a machine of tests may lack.
test.skipIf(process.env.UML || maySetResources())(
  'in the guest: ext4 grows while it is mounted',
  { timeout: guestTestMs },
  async () =>
    testInGuest(
      ['packages/csi-node/test/hostpath/suite.test.ts', '-t', 'ext4.*NodeExpandVolume: a published volume'],
      '1G',
    ),
)
