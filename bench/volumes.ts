// What volumes cost: from a pod to its mounts for each kind of volume, a change of a ConfigMap, and a thousand of them at rest:
// `npm run bench:volumes`. Needs root. All happens in namespaces of its own, and nothing of it stays.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createKubeClient, loadKubeconfig } from '@nodelet/kube-client'
import { runAlone } from './alone.ts'
import { startPart } from './kubelet/peers.ts'
import { onStage } from './kubelet/stage.ts'
import type { Stage } from './kubelet/stage.ts'
import { measureKinds, measureMany, openAlone } from './volumes/manager.ts'
import type { ManyFigures } from './volumes/manager.ts'
import { makeClaim, serveDrivers } from './volumes/cluster.ts'
import { measureNode } from './volumes/node.ts'
import { print } from './volumes/report.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '30' },
    many: { type: 'string', default: '0,100,1000' },
    seconds: { type: 'string', default: '30' },
    changes: { type: 'string', default: '20' },
    pods: { type: 'string', default: '10' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(`npm run bench:volumes -- [options]
  --rounds 30        pods of each kind of volume, with the volume manager alone
  --many 0,100,1000  volumes of a ConfigMap each, at rest and when one changes
  --seconds 30       how long nothing happens
  --changes 20       of a ConfigMap, one after the other
  --pods 10          of each kind on a whole node; 0: without it`)
  process.exit()
}
runAlone()

const [rounds, seconds, changes, count] = [values.rounds, values.seconds, values.changes, values.pods].map(Number) as [
  number,
  number,
  number,
  number,
]

async function main({ folder, place, plane, signal, tell }: Stage): Promise<void> {
  tell(`in ${folder}: the control plane`)
  await using cluster = await startPart(plane)
  const { kubeconfig = '', ofKubelet = '' } = cluster.first
  await using admin = createKubeClient(await loadKubeconfig(kubeconfig))
  await using client = createKubeClient(await loadKubeconfig(ofKubelet))
  const many: ManyFigures[] = []
  const measured = await (async () => {
    await using drivers = await serveDrivers(folder, join(folder, 'alone'), false)
    await makeClaim(admin, drivers.sockets['hostpath.csi.k8s.io'] ?? '', signal)
    const options = { folder, admin, client, sockets: drivers.sockets, signal }
    await using alone = await openAlone(options)
    tell(`${rounds} pods of each kind`)
    const kinds = await measureKinds(options, alone, rounds)
    for (const volumes of values.many.split(',').filter(Boolean).map(Number)) {
      tell(`${volumes} volumes of a ConfigMap each, ${seconds} s`)
      await using manager = await openAlone(options)
      many.push(await measureMany(options, manager, { volumes, seconds, changes, serverPid: cluster.pid }))
    }
    return kinds
  })()
  if (count > 0) tell(`a whole node, ${count} pods of each kind`)
  const config = { ...place, parts: ['runtime', 'kubelet', 'proxy'] as const, kubeconfig: ofKubelet }
  const node =
    count > 0
      ? await measureNode({
          folder,
          config: { ...config, parts: [...config.parts] },
          admin,
          image: 'localhost/nodelet-demo:1',
          count,
          changes,
          signal,
        })
      : undefined
  print({ kinds: measured, many, seconds, node })
}

await onStage(main)
