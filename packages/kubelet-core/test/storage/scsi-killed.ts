// A process that has a disk of a target for a pod, again and again, and is killed.
import { silentLogger } from '../../src/log.ts'
import { createNodeDisks } from '../../src/storage/node-disks.ts'
import { setUpScsi } from '../../src/storage/scsi/set-up.ts'
import { attachNameOf, iscsiTarget } from '../../src/storage/scsi/target.ts'
import { volumePath } from '../../src/volume/folders.ts'
import type { ScsiPlan } from '../../src/volume/plan.ts'
import type { SetUpContext } from '../../src/volume/set-up.ts'
import { tearDownPod } from '../../src/volume/tear-down.ts'

const [rootDir = '', targetPortal = '', iqn = ''] = process.argv.slice(2)
const target = iscsiTarget({ targetPortal, iqn }, 'v')
const plan: ScsiPlan = {
  kind: 'scsi',
  name: 'v',
  specName: 'v',
  target,
  attachName: attachNameOf(target),
  fsType: '',
  volumeMode: 'Filesystem',
  readOnly: false,
  mountOptions: [],
}
const disks = createNodeDisks(rootDir, silentLogger)
const context = { rootDir, disks, log: silentLogger } as SetUpContext
process.stdout.write('ready\n')
for (;;) {
  const pod = { metadata: { uid: 'killed' } }
  await setUpScsi(plan, volumePath(rootDir, 'killed', plan), pod, context)
  await tearDownPod(rootDir, 'killed')
  await disks.releaseUnused()
}
