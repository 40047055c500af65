// What a node costs, as a client of the API sees it: pods one by one and many at once, memory and processor at rest, and
// a start after a crash: `npm run bench`. Needs root. Control plane and node are a process each, as they are installed.
// The baseline is the same container made by conmon and runc alone in the same run: the ratio is what a node adds.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createKubeClient, loadKubeconfig, pods, startInformer } from '@nodelet/kube-client'
import type { NodeConfigInput } from '@nodelet/node-agent'
import { runAlone } from './alone.ts'
import { makeBaseline } from './kubelet/baseline.ts'
import { startPart } from './kubelet/peers.ts'
import { makeReady, remove, run } from './kubelet/pods.ts'
import { print } from './kubelet/report.ts'
import type { BurstFigures, Rest } from './kubelet/report.ts'
import { onStage } from './kubelet/stage.ts'
import type { Stage } from './kubelet/stage.ts'
import { cpuOf, helpersOf, memoryOf } from './runtime/processes.ts'

const { values } = parseArgs({
  options: {
    single: { type: 'string', default: '20' },
    bursts: { type: 'string', default: '10,30,50,100' },
    rest: { type: 'string', default: '0,50,110' },
    seconds: { type: 'string', default: '60' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(`npm run bench -- [options]
  --single 20             pods one by one
  --bursts 10,30,50,100   pods at once
  --rest 0,50,110         pods with two probes that run while nothing happens; the last stay over a kill -9
  --seconds 60            how long nothing happens`)
  process.exit()
}
runAlone()

const numbers = (text: string): number[] => text.split(',').filter(Boolean).map(Number)
const [single, seconds] = [Number(values.single), Number(values.seconds)]

const image = 'localhost/nodelet-demo:1'
const range = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`)

async function main({ folder, name, place, plane, signal, tell }: Stage): Promise<void> {
  tell(`in ${folder}: conmon and runc alone`)
  const base = await makeBaseline({ folder, run: `/run/nodelet-${name}b`, image, count: 10, signal })

  tell('the control plane and the node')
  await using cluster = await startPart(plane)
  const { kubeconfig = '', ofKubelet = '' } = cluster.first
  const config: NodeConfigInput = { ...place, parts: ['runtime', 'kubelet', 'proxy'], kubeconfig: ofKubelet }
  await using nodes = new AsyncDisposableStack()
  let node = await startPart(config)
  nodes.defer(async () => node[Symbol.asyncDispose]())
  await node.ask({ what: 'image', folder: join(folder, 'image'), image })
  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  await using informer = startInformer(client, pods, { namespace: 'default' })
  await informer.synced
  const api = { client, informer, image }
  await run(api, ['warm'])
  await remove(api, ['warm'])

  tell(`${single} pods one by one`)
  const asked = { ...(await cluster.ask({ what: 'requests' })).requests }
  const started: number[] = []
  const removed: number[] = []
  const before = cpuOf(node.pid)
  for (const one of range('single', single)) {
    signal.throwIfAborted()
    started.push(...(await run(api, [one])))
    removed.push(...(await remove(api, [one])))
  }
  const cpu = (cpuOf(node.pid) - before) / single
  const { requests = {} } = await cluster.ask({ what: 'requests' })
  const perPod = Object.entries(requests)
    .map(([kind, count]) => [kind, (count - (asked[kind] ?? 0)) / single] as const)
    .filter(([, count]) => count >= 0.5)

  const bursts: BurstFigures[] = []
  for (const count of numbers(values.bursts)) {
    signal.throwIfAborted()
    tell(`${count} pods at once`)
    const names = range(`burst${count}`, count)
    await node.ask({ what: 'watch-loop' })
    const since = cpuOf(node.pid)
    const up = await run(api, names)
    const { loop } = await node.ask({ what: 'loop' })
    bursts.push({ up, loop, cpu: (cpuOf(node.pid) - since) / count, gone: await remove(api, names) })
  }

  const rest: Rest[] = []
  const running: string[] = []
  for (const count of numbers(values.rest)) {
    tell(`${count} pods at rest for ${seconds} s`)
    const before = running.length
    while (running.length < count) {
      signal.throwIfAborted()
      const more = range(`rest${running.length}`, Math.min(10, count - running.length))
      await run(api, more, { probed: true })
      running.push(...more)
    }
    const fresh = running.slice(before)
    const readyMs = fresh.length > 0 ? await makeReady(api, fresh) : undefined
    await sleep(3000, undefined, { signal })
    const since = cpuOf(node.pid)
    const quiet = { ...(await cluster.ask({ what: 'requests' })).requests }
    await sleep(seconds * 1000, undefined, { signal })
    const after = (await cluster.ask({ what: 'requests' })).requests ?? {}
    rest.push({
      pods: count,
      ...(readyMs !== undefined && { ready: { pods: fresh.length, ms: readyMs } }),
      cpuShare: (cpuOf(node.pid) - since) / seconds,
      requests: Object.entries(after)
        .map(([kind, many]) => [kind, many - (quiet[kind] ?? 0)] as const)
        .filter(([, many]) => many > 0),
      node: memoryOf([node.pid]),
      helpers: memoryOf(helpersOf(place.run, 'conmon')),
    })
  }

  await remove(api, running.splice(-1)) // a full node would take no other
  tell(`kill -9 with ${running.length} pods, and a new start`)
  await node.kill()
  const from = performance.now()
  node = await startPart(config)
  const back = performance.now() - from
  const [next = Number.NaN] = await run(api, ['next'])
  tell('cleaning up')
  await remove(api, ['next', ...running])
  await informer.stop()
  print({ base, started, removed, cpu, perPod, bursts, rest, back, next, kept: running.length })
}

await onStage(main)
