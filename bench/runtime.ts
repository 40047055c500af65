// What the runtime costs over its socket, as crictl would see it, beside containerd where Debian's package is installed:
// `npm run bench:runtime`. Needs root. Pods have a bridge, host-local addresses and portmap; all happens in
// namespaces of its own, and nothing of it stays.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ImageSpec } from '@nodelet/cri-api'
import { startRegistry } from '../packages/runtime-runc/test/registry.ts'
import { hideCgroup2, runAlone } from './alone.ts'
import { MiB, Times } from './figures.ts'
import { appImage, bigImage, pauseImage } from './runtime/images.ts'
import { listOften } from './runtime/lists.ts'
import { hasContainerd, hasCrun, startContainerd, startNodelet, withCrun } from './runtime/peers.ts'
import type { Peer } from './runtime/peers.ts'
import { execIn, removeAllPods, removePod, startPod } from './runtime/pods.ts'
import type { Pod, Setting } from './runtime/pods.ts'
import { memoryOf } from './runtime/processes.ts'
import type { Memory } from './runtime/processes.ts'
import { pullBig } from './runtime/pull.ts'
import { print } from './runtime/report.ts'
import type { Figures } from './runtime/report.ts'

const { values } = parseArgs({
  options: {
    single: { type: 'string', default: '20' },
    burst: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    pods: { type: 'string', default: '100' },
    pulls: { type: 'string', default: '3' },
    megabytes: { type: 'string', default: '300' },
    'no-containerd': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(`npm run bench:runtime -- [options]
  --single 20      pods one by one
  --burst 10       pods at once, --rounds 3 times
  --pods 100       pods that run while lists and memory are measured; 0: none
  --pulls 3        of an image of --megabytes 300 in five layers; 0: none
  --no-containerd  nodelet alone`)
  process.exit()
}
runAlone(hideCgroup2)

const [single, burst, rounds, pods, pulls, megabytes] = (
  ['single', 'burst', 'rounds', 'pods', 'pulls', 'megabytes'] as const
).map((name) => Number(values[name])) as [number, number, number, number, number, number]
const range = (length: number): number[] => Array.from({ length }, (_, at) => at)
const tell = (text: string): boolean => process.stderr.write(`• ${text}\n`)

const folder = mkdtempSync(join(tmpdir(), 'nodelet-bench-'))
const name = folder.slice(folder.lastIndexOf('-') + 1)
const cgroup = `/nodelet-bench-${name}`
const undo = new AsyncDisposableStack()
/** Looked at between the steps. */
const stopping = new AbortController()
undo.defer(() => rmSync(folder, { recursive: true, force: true }))
undo.defer(() => removeCgroup(cgroup))

function removeCgroup(path: string): void {
  const base = '/sys/fs/cgroup'
  const roots = existsSync(join(base, 'cgroup.controllers'))
    ? [base]
    : readdirSync(base)
        .map((controller) => join(base, controller))
        .filter((root) => existsSync(join(root, 'cgroup.procs')))
  for (const root of roots) {
    const top = join(root, path)
    if (!existsSync(top)) continue
    const below = readdirSync(top, { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory())
    const folders = below.map((entry) => join(entry.parentPath, entry.name)).toSorted((a, b) => b.length - a.length)
    for (const each of [...folders, top]) rmdirSync(each)
  }
}

/** The pods of one runtime, all at once. */
async function startMany(peer: Peer, setting: Setting, many: number, times: Times): Promise<Pod[]> {
  return Promise.all(range(many).map(async () => startPod(peer, setting, times)))
}

async function oneByOne(peers: readonly Peer[], settings: Setting, figures: Map<Peer, Figures>): Promise<void> {
  for (const round of range(single + 2)) {
    for (const peer of peers) {
      stopping.signal.throwIfAborted()
      // The first two are for warmth.
      const times = round < 2 ? new Times() : figures.get(peer)!.single
      const pod = await startPod(peer, settings, times)
      await execIn(peer, pod, times)
      await removePod(peer, pod, times)
    }
  }
}

async function atOnce(peers: readonly Peer[], settings: Setting, figures: Map<Peer, Figures>): Promise<void> {
  for (const _round of range(rounds)) {
    for (const peer of peers) {
      stopping.signal.throwIfAborted()
      const { burst: times } = figures.get(peer)!
      const since = performance.now()
      const all = await startMany(peer, settings, burst, times)
      times.add('all run', performance.now() - since)
      await Promise.all(all.map(async (pod) => execIn(peer, pod, times)))
      const ending = performance.now()
      await Promise.all(all.map(async (pod) => removePod(peer, pod, times)))
      times.add('all are gone', performance.now() - ending)
    }
  }
}

async function many(peer: Peer, settings: Setting, figures: Figures): Promise<void> {
  const ignored = new Times()
  const before = memoryOf([peer.pid])
  const running: Pod[] = []
  while (running.length < pods) {
    stopping.signal.throwIfAborted()
    running.push(...(await startMany(peer, settings, Math.min(10, pods - running.length), ignored)))
  }
  await sleep(1000)
  figures.memory = { before, full: memoryOf([peer.pid]), helpers: memoryOf(peer.helpers()), pods }
  await listOften(peer, 20, figures.lists)
  for (const at of range(Math.ceil(running.length / 10))) {
    await Promise.all(running.slice(at * 10, at * 10 + 10).map(async (pod) => removePod(peer, pod, ignored)))
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(130)
    tell(`${signal}: cleaning up`)
    stopping.abort(new Error(`ended by ${signal}`))
  })
}
try {
  tell(`in ${folder}: images`)
  const registry = undo.use(await startRegistry())
  const settings: Setting = { image: `${registry.host}/bench/app:1`, logs: join(folder, 'logs'), cgroup }
  await registry.push('bench/app:1', await appImage())
  await registry.push('bench/pause:1', await pauseImage())
  const big = `${registry.host}/bench/big:1`
  let compressed = 0
  if (pulls > 0) {
    const image = await bigImage(megabytes, 5)
    compressed = [...image.blobs.values()].reduce((sum, { length }) => sum + length, 0) / MiB
    await registry.push('bench/big:1', image)
  }

  const place = (index: number): { folder: string; run: string; subnet: number } => {
    const own = join(folder, String(index))
    const run = `/run/nb-${name}${index}`
    mkdirSync(own)
    undo.defer(() => rmSync(run, { recursive: true, force: true }))
    undo.defer(() => void spawnSync('umount', ['-l', join(run, 'ns')], { stdio: 'ignore' }))
    return { folder: own, run, subnet: 91 + index }
  }
  const peers: Peer[] = []
  const idle = new Map<Peer, Memory>()
  const open = async (starting: Promise<Peer>): Promise<void> => {
    const peer = undo.use(await starting)
    idle.set(peer, memoryOf([peer.pid]))
    undo.defer(async () => removeAllPods(peer))
    const { client } = peer
    await client.imageService.pullImage({
      image: ImageSpec.fromPartial({ image: settings.image }),
      auth: undefined,
      sandboxConfig: undefined,
    })
    peers.push(peer)
  }
  await open(startNodelet(place(0)))
  const [first] = peers
  if (first && hasCrun()) peers.push(withCrun(first))
  if (!values['no-containerd']) {
    if (hasContainerd()) await open(startContainerd(place(1), `${registry.host}/bench/pause:1`))
    else tell('containerd is not here: apt-get install containerd containernetworking-plugins to compare')
  }
  const empty = (peer: Peer): Figures => ({
    ...(idle.has(peer) ? { idle: idle.get(peer)! } : {}),
    single: new Times(),
    burst: new Times(),
    lists: new Times(),
    pulls: [],
  })
  const figures = new Map(peers.map((peer) => [peer, empty(peer)]))

  tell(`${single} pods one by one`)
  await oneByOne(peers, settings, figures)
  tell(`${rounds} × ${burst} pods at once`)
  await atOnce(peers, settings, figures)
  const daemons = peers.filter(({ isVariant }) => !isVariant)
  for (const round of range(pulls)) {
    stopping.signal.throwIfAborted()
    tell(`pull ${round + 1} of ${pulls}`)
    for (const peer of daemons) figures.get(peer)!.pulls.push(await pullBig(peer, big))
  }
  for (const peer of pods > 0 ? daemons : []) {
    tell(`${peer.name}: ${pods} pods`)
    await many(peer, settings, figures.get(peer)!)
  }
  print(peers, figures, { single, burst, rounds, pods, megabytes, compressed })
} catch (error) {
  if (!stopping.signal.aborted) throw error
  process.exitCode = 130
} finally {
  await undo.disposeAsync()
}
process.exit()
