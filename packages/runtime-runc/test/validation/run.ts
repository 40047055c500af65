// Runs the validation suite over the socket of one runtime, in namespaces of its own; says each outcome as a line of JSON.
// `node run.ts nodelet|crun|containerd [part of a name]`; crun is nodelet with its other handler.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SuiteSkip, validationSuite } from '@nodelet/cri-api/testing'
import type { HostMounts, ValidationRuntime } from '@nodelet/cri-api/testing'
import { hideCgroup2, runAlone } from '../../../../bench/alone.ts'
import { pauseImage } from '../../../../bench/runtime/images.ts'
import { startContainerd, startNodelet } from '../../../../bench/runtime/peers.ts'
import { removeAllPods } from '../../../../bench/runtime/pods.ts'
import { startRegistry } from '../registry.ts'
import { pushImages } from './images.ts'
import { spdyStreams } from './streams.ts'

const [name = '', part = ''] = process.argv.slice(2)
runAlone(name === 'crun' ? hideCgroup2 : undefined)

function mount(...args: string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`mount ${args.join(' ')}: ${stderr}`)
}
const mounts: HostMounts = {
  self: async (path, propagation) => {
    mount('--bind', path, path)
    mount(`--make-r${propagation}`, path)
  },
  bind: async (source, target) => mount('--bind', source, target),
  tmpfs: async (target) => mount('-t', 'tmpfs', 'tmpfs', target),
  unmount: async (target) => void spawnSync('umount', ['-l', target]),
}

/** The folders of cgroups that a test made, in each hierarchy. */
function removeCgroup(cgroup: string): void {
  const base = '/sys/fs/cgroup'
  for (const root of [base, ...readdirSync(base).map((controller) => join(base, controller))]) {
    const top = join(root, cgroup)
    if (!existsSync(join(top, 'cgroup.procs'))) continue
    const below = readdirSync(top, { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory())
    const folders = below.map((entry) => join(entry.parentPath, entry.name)).toSorted((a, b) => b.length - a.length)
    for (const each of [...folders, top]) rmdirSync(each)
  }
}

const say = (line: object): boolean => process.stdout.write(`${JSON.stringify(line)}\n`)
const folder = mkdtempSync(join(tmpdir(), 'nv-'))
const id = folder.slice(folder.lastIndexOf('-') + 1)
const cgroup = `/nodelet-validation-${id}`
const run = `/run/nv-${id}`
const undo = new AsyncDisposableStack()
undo.defer(() => rmSync(folder, { recursive: true, force: true }))
undo.defer(() => rmSync(run, { recursive: true, force: true }))
undo.defer(() => void spawnSync('umount', ['-l', join(run, 'ns')], { stdio: 'ignore' }))
undo.defer(() => removeCgroup(cgroup))
try {
  const registry = undo.use(await startRegistry())
  await pushImages(registry)
  await registry.push('pause:1', await pauseImage())
  const place = { folder: join(folder, 'runtime'), run, subnet: 93 }
  for (const path of [place.folder, join(folder, 'volumes')]) mkdirSync(path)
  const peer = undo.use(
    await (name === 'containerd'
      ? startContainerd(place, `${registry.host}/pause:1`)
      : startNodelet(place, { fromSources: true })),
  )
  undo.defer(async () => removeAllPods(peer))
  const runtime: ValidationRuntime = {
    ...peer.client,
    handler: name === 'crun' ? 'crun' : peer.handler,
    folder: join(folder, 'volumes'),
    cgroupParent: `${cgroup}/pods`,
    image: (image, at = 'first') =>
      `${at === 'first' ? registry.host : registry.host.replace('127.0.0.1', 'localhost')}/${image}`,
    mounts,
    streams: spdyStreams,
  }
  const waiting = validationSuite.filter((each) => each.name.includes(part))
  const work = async (): Promise<void> => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      const since = performance.now()
      const failure = await one.run(runtime).then(
        () => undefined,
        (error: unknown) => error,
      )
      const isSkip = failure instanceof SuiteSkip
      const outcome = failure === undefined ? 'passed' : isSkip ? 'skipped' : 'failed'
      const reason = isSkip ? failure.message : failure instanceof Error ? (failure.stack ?? failure.message) : ''
      say({ name: one.name, outcome, reason, ms: Math.round(performance.now() - since) })
    }
  }
  await Promise.all(Array.from({ length: 4 }, work))
  const { runtimeService } = peer.client
  const pods = (await runtimeService.listPodSandbox({ filter: undefined })).items.length
  const containers = (await runtimeService.listContainers({ filter: undefined })).containers.length
  const isLeft = pods + containers > 0
  const reason = isLeft ? `${pods} pods, ${containers} containers` : ''
  say({ name: 'nothing is left', outcome: isLeft ? 'failed' : 'passed', reason })
} finally {
  await undo.disposeAsync()
}
process.exit()
