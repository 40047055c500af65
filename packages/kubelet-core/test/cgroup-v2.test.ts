import { test } from 'vitest'
import { guestTestMs, testInGuest } from '../../../tools/test/in-guest.ts'

const files = ['no-swap', 'process/place', 'no-pod-cgroups', 'storage/nfs', 'storage/scsi'].map(
  (name) => `packages/kubelet-core/test/${name}.test.ts`,
)

// The machine may have v1 only, no NFS and no iSCSI: a guest with its own kernel has both.
test.skipIf(process.env.UML)(
  'cgroups of v2 are used as those of v1, folders of NFS servers, disks of iSCSI',
  { timeout: guestTestMs },
  async () => testInGuest(files),
)
