// A process that has a device for a pod, again and again, and is killed.
import { join } from 'node:path'
import { silentLogger } from '../../src/log.ts'
import { createNodeDisks } from '../../src/storage/node-disks.ts'
import { setUpLocal } from '../../src/storage/local.ts'
import { tearDownPod } from '../../src/volume/tear-down.ts'
import { localPlan } from './local-plan.ts'

const [rootDir = '', path = ''] = process.argv.slice(2)
const disks = createNodeDisks(rootDir, silentLogger)
const target = join(rootDir, 'pods/one/volumes/kubernetes.io~local-volume/pv')
process.stdout.write('ready\n')
for (;;) {
  await setUpLocal({ ...localPlan, path }, target, {}, { disks, tell: () => {}, signal: undefined })
  await tearDownPod(rootDir, 'one')
  await disks.releaseUnused()
}
