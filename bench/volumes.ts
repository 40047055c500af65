// What volumes cost: from a pod to its mounts for each kind of volume, a change of a ConfigMap, and a thousand of them at rest:
// `npm run bench:volumes`. Needs root. All happens in namespaces of its own, and nothing of it stays.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createKubeClient, loadKubeconfig } from '@nodelet/kube-client'
import { parseConfig, resetMachine } from '@nodelet/node-agent'
import type { NodeConfigInput } from '@nodelet/node-agent'
import { pino } from 'pino'
import { runAlone } from './alone.ts'
import { startPart } from './kubelet/peers.ts'
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

const tell = (text: string): boolean => process.stderr.write(`• ${text}\n`)
const [rounds, seconds, changes, count] = [values.rounds, values.seconds, values.changes, values.pods].map(Number) as [
  number,
  number,
  number,
  number,
]
const folder = mkdtempSync(join(tmpdir(), 'nodelet-bench-'))
const name = folder.slice(folder.lastIndexOf('-') + 1)
const place = {
  root: join(folder, 'state'),
  run: `/run/nodelet-${name}`,
  cgroupRoot: `/nodelet-${name}`,
  nodeName: 'bench',
  nodeIPs: ['127.0.0.1'],
}
const plane: NodeConfigInput = {
  ...place,
  root: join(folder, 'cluster'),
  run: `/run/nodelet-${name}c`,
  parts: ['cluster'],
}
const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(130)
    tell(`${signal}: cleaning up`)
    stopping.abort(new Error(`ended by ${signal}`))
  })
}

async function main(): Promise<void> {
  const { signal } = stopping
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

try {
  await main()
} catch (error) {
  if (!stopping.signal.aborted) throw error
  process.exitCode = 130
} finally {
  const log = pino({ level: 'silent' })
  for (const input of [place, plane]) await resetMachine(parseConfig(input, 'benchmark'), log, () => undefined)
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
