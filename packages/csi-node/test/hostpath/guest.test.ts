import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../../tools/test/in-guest.ts'

// Growing ext4 under a pod wants a privilege that a machine of tests may lack, and quotas a kernel that has them.
test.skipIf(process.env.UML)(
  'in the guest: ext4 grows while it is mounted, and quotas keep the sizes of folders',
  { timeout: guestTestMs },
  async () =>
    testInGuest(
      [
        'packages/csi-node/test/hostpath/suite.test.ts',
        'packages/csi-node/test/hostpath/quota.test.ts',
        '-t',
        'ext4.*NodeExpandVolume: a published volume|project quotas',
      ],
      '1G',
    ),
)
