// Time from the API's create until Running is seen in the API, for pods one by one and many at once, and the memory of
// the process: `npm run bench`. Needs root. The baseline is the same container started by runc and conmon alone, in the
// same run: what the node adds to it is the ratio.
import { spawnSync } from 'node:child_process'
import { readFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ContainerConfig, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import { createKubeClient, loadKubeconfig, pods, startInformer } from '@nodelet/kube-client'
import type { Informer } from '@nodelet/kube-client'
import { startNode, parseConfig, resetMachine } from '@nodelet/node-agent'
import type { NodeHandle } from '@nodelet/node-agent'
import { openContainers } from '@nodelet/runtime-runc'
import { pino } from 'pino'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { makeDemoImage } from '../packages/node-agent/src/demo/image.ts'

const { values } = parseArgs({
  options: {
    single: { type: 'string', default: '20' },
    burst: { type: 'string', default: '30' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(
    'npm run bench -- [--single 20] [--burst 30]   pods one by one, pods at once; in a network namespace of its own',
  )
  process.exit()
}
// The rules and links of the machine stay as they are.
if (process.env.NODELET_BENCH_INSIDE === undefined) {
  const inside = 'ip link set lo up; exec "$@"'
  const { status } = spawnSync(
    'unshare',
    ['-n', 'sh', '-c', inside, 'sh', process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    {
      stdio: 'inherit',
      env: { ...process.env, NODELET_BENCH_INSIDE: '1' },
    },
  )
  process.exit(status ?? 1)
}

const image = 'localhost/nodelet-demo:1'
const folder = mkdtempSync(join(tmpdir(), 'nodelet-bench-'))
const name = folder.slice(folder.lastIndexOf('-') + 1)
const config = parseConfig(
  {
    root: join(folder, 'state'),
    run: `/run/nodelet-${name}`,
    cgroupRoot: `/nodelet-${name}`,
    nodeName: 'bench',
    nodeIPs: ['127.0.0.1'],
  },
  'bench',
)
const log = pino({ level: 'silent' })

const sorted = (times: readonly number[]): number[] => times.toSorted((a, b) => a - b)
const quantile = (times: readonly number[], share: number): number =>
  sorted(times)[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN
const figures = (times: readonly number[]): string =>
  [0, 0.5, 0.9, 1].map((share) => quantile(times, share).toFixed(0).padStart(5)).join(' ')

const podOf = (podName: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: podName, namespace: 'default' },
  spec: {
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'main', image, imagePullPolicy: 'IfNotPresent', command: ['/bin/sleep', '1000'] }],
  },
})

function memoryMiB(): { resident: number; unique: number } {
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8')
  const kib = (key: string): number => Number(new RegExp(`^${key}: +(\\d+)`, 'm').exec(rollup)?.[1])
  return { resident: kib('Rss') / 1024, unique: (kib('Private_Clean') + kib('Private_Dirty')) / 1024 }
}

/** Creates pods and answers, for each, the milliseconds until the watch shows it Running. */
async function start(node: NodeHandle, informer: Informer<Pod>, names: readonly string[]): Promise<number[]> {
  const { client } = node
  if (!client) throw new Error('no client')
  const begun = new Map<string, number>()
  const done = new Map(names.map((one) => [one, Promise.withResolvers<number>()]))
  const stop = informer.subscribe({
    updated: ({ metadata, status }) => {
      const podName = metadata?.name ?? ''
      if (status?.phase === 'Running')
        done.get(podName)?.resolve(performance.now() - (begun.get(podName) ?? Number.NaN))
    },
  })
  await Promise.all(
    names.map(async (one) => {
      begun.set(one, performance.now())
      await client.create(pods, podOf(one))
    }),
  )
  const times = await Promise.all([...done.values()].map(async ({ promise }) => promise))
  stop()
  return times
}

async function remove(node: NodeHandle, informer: Informer<Pod>, names: readonly string[]): Promise<void> {
  const left = new Set(names)
  const gone = Promise.withResolvers<void>()
  const stop = informer.subscribe({
    deleted: ({ metadata }) => {
      left.delete(metadata?.name ?? '')
      if (left.size === 0) gone.resolve()
    },
  })
  await Promise.all(names.map(async (one) => node.client?.delete(pods, { namespace: 'default', name: one })))
  await gone.promise
  stop()
}

/** The same container without pod, network and API: create and start through conmon and runc. */
async function baseline(rootfs: string, count: number): Promise<number[]> {
  await using containers = await openContainers({ stateDir: join(folder, 'base'), runDir: `/run/nodelet-${name}b` })
  const { NODE, CONTAINER } = NamespaceMode
  const times: number[] = []
  for (let index = 0; index < count; index += 1) {
    const since = performance.now()
    const id = await containers.create({
      config: ContainerConfig.fromPartial({
        metadata: { name: 'main' },
        command: ['/bin/sleep', '1000'],
        linux: { securityContext: { namespaceOptions: { network: NODE, ipc: NODE, pid: CONTAINER } } },
      }),
      sandboxConfig: PodSandboxConfig.fromPartial({ logDirectory: folder }),
      sandbox: { id: 'bench', hostname: 'bench' },
      image: {},
      imageName: image,
      rootfs,
    })
    await containers.start(id)
    times.push(performance.now() - since)
    await containers.stop(id, 0)
    await containers.remove(id)
  }
  return times
}

const range = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`)

try {
  const idle = memoryMiB()
  const node = await startNode(config, log)
  const started = memoryMiB()
  const { images, cluster } = node
  if (!images || !cluster) throw new Error('all parts are needed')
  const [made] = await images.importArchive(await makeDemoImage(join(folder, 'image'), image), { reference: image })
  const rootfs = await images.prepareRootfs('baseline', made?.id ?? '')
  const base = await baseline(rootfs, 10)
  await images.releaseRootfs('baseline')

  await using watcher = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
  await using informer = startInformer(watcher, pods, { namespace: 'default' })
  await informer.synced
  await start(node, informer, ['warm'])
  await remove(node, informer, ['warm'])

  const single: number[] = []
  for (const one of range('single', Number(values.single))) {
    single.push(...(await start(node, informer, [one])))
    await remove(node, informer, [one])
  }
  const names = range('burst', Number(values.burst))
  const burst = await start(node, informer, names)
  const full = memoryMiB()
  await remove(node, informer, names)

  console.log('API create → Running seen in the API, ms         min   p50   p90   max')
  console.log(`baseline: one container by conmon and runc     ${figures(base)}`)
  console.log(`${String(single.length).padStart(3)} pods one by one                            ${figures(single)}`)
  console.log(`${String(burst.length).padStart(3)} pods at once                               ${figures(burst)}`)
  console.log(
    `one pod costs ${(quantile(single, 0.5) / quantile(base, 0.5)).toFixed(2)} × the baseline; the last of the burst came at ${(quantile(burst, 1) / burst.length).toFixed(0)} ms per pod`,
  )
  const size = ({ resident, unique }: ReturnType<typeof memoryMiB>): string =>
    `${resident.toFixed(0)} MiB resident, ${unique.toFixed(0)} MiB of its own`
  console.log(`memory before the node: ${size(idle)}`)
  console.log(`memory of the node idle: ${size(started)}`)
  console.log(`memory of the node with ${burst.length} pods, control plane and runtime within: ${size(full)}`)
  await node.kubelet?.removeAllPods()
  await informer.stop()
  await watcher.close()
  await node.close()
} finally {
  await resetMachine(config, log, () => undefined)
  rmSync(`/run/nodelet-${name}b`, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
