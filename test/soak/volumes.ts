// Pods with volumes of many kinds come and go on a node of its own while the agent and its drivers are killed at any
// moment; ends with 1, and says why, when a pod saw what is not its own, data are lost, or anything sticks or is left.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  configMaps,
  createKubeClient,
  csiDrivers,
  isAlreadyExists,
  isNotFound,
  type KubeClient,
  loadKubeconfig,
  mergePatch,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  storageClasses,
} from '@nodelet/kube-client'
import { detachLoop, readLoops } from '@nodelet/linux'
import { type NodeConfigInput, parseConfig, resetMachine } from '@nodelet/node-agent'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { pino } from 'pino'
import { runAlone } from '../../bench/alone.ts'
import { makeDemoImage } from '../../packages/node-agent/src/demo/image.ts'
import { randomFrom } from '../../packages/runtime-runc/test/crash/random.ts'
import { type Claim, containerOf, image, volumesOf } from './volume-pods.ts'
import { patient } from './patience.ts'

runAlone()
const [seconds, seed, keep] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]]
const together = 5
const claimsAlive = 4
const { insist, until } = patient(120_000)
const namespace = 'default'
const repository = join(import.meta.dirname, '../..')

const folder = mkdtempSync(join(tmpdir(), 'nodelet-soak-'))
const name = folder.slice(folder.lastIndexOf('-') + 1)
const config: NodeConfigInput & { root: string } = {
  root: join(folder, 'state'),
  run: `/run/nodelet-${name}`,
  cgroupRoot: `/nodelet-${name}`,
}
const kubelet = join(config.root, 'kubelet')
const driverData = join(folder, 'driver')
const verdicts = join(folder, 'verdicts')
mkdirSync(kubelet, { recursive: true })
mkdirSync(verdicts)

const random = randomFrom(seed)
const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T
const pause = async (mostMs: number): Promise<void> => sleep(random() * mostMs)
const began = performance.now()
const story = join(folder, 'story')
const note = (text: string): void =>
  appendFileSync(story, `${((performance.now() - began) / 1000).toFixed(2)} ${text}\n`)

const children = new Set<ChildProcess>()
function run(...args: string[]): ChildProcess {
  const log = openSync(join(folder, 'log'), 'a')
  const child = spawn(process.execPath, ['--conditions=@nodelet/source', ...args], { stdio: ['ignore', log, log] })
  closeSync(log)
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}
async function end(child: ChildProcess, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, 'exit')
}
const cli = join(repository, 'packages/node-agent/src/cli.ts')
const flags = ['--root', config.root, '--run', config.run ?? '', '--cgroup-root', config.cgroupRoot ?? '']
const begin = {
  agent: () => run(cli, 'up', ...flags, '--node-ip', '127.0.0.1'),
  hostpath: () => run(join(repository, 'test/hostpath-driver.ts'), '--root-dir', kubelet, '--statedir', driverData),
  tmpfs: () => run(join(repository, 'examples/csi-tmpfs/tmpfs.ts'), kubelet),
}
type Programs = Record<keyof typeof begin, ChildProcess>

/** A request that was answered by nobody may have been heard. */
const orWas =
  (expected: (error: unknown) => boolean) =>
  (error: unknown): void =>
    assert(expected(error), error as Error)

interface Soak {
  client: KubeClient
  claims: Claim[]
  /** Pods of each claim that are there. */
  users: Map<string, number>
  nextClaim: number
  configs: number
  /** Pods that became ready, and those that went. */
  steps: number
}

const metadata = (object: string): { name: string; namespace: string } => ({ name: object, namespace })

async function addClaim(soak: Soak): Promise<void> {
  const number = soak.nextClaim++
  const kind = (['folder', 'ext4', 'block'] as const)[number % 3] ?? 'folder'
  const claim = { name: `claim-${number}`, kind }
  await insist(async () =>
    soak.client.create(persistentVolumeClaims, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: metadata(claim.name),
      spec: {
        storageClassName: kind === 'ext4' ? 'image' : 'folder',
        accessModes: ['ReadWriteOnce'],
        volumeMode: kind === 'block' ? 'Block' : 'Filesystem',
        resources: { requests: { storage: '8Mi' } },
      },
    }),
  ).catch(orWas(isAlreadyExists))
  soak.claims.push(claim)
}

async function removePod(soak: Soak, pod: string): Promise<void> {
  const { client } = soak
  const force = random() < 0.2
  note(`delete ${pod}${force ? ', forced' : ''}`)
  const options = force ? { gracePeriodSeconds: 0 } : {}
  await insist(async () => client.delete(pods, metadata(pod), options)).catch(orWas(isNotFound))
  await until(`the end of ${pod}${force ? ', forced' : ''}`, async () =>
    insist(async () => client.get(pods, metadata(pod))).then(() => false, isNotFound),
  )
  note(`${pod} is gone`)
  soak.steps += 1
}

async function createPod({ client }: Soak, pod: string, claim: Claim): Promise<void> {
  note(`create ${pod} with ${claim.name}, ${claim.kind}`)
  const object: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: metadata(pod),
    spec: {
      terminationGracePeriodSeconds: 2,
      automountServiceAccountToken: false,
      hostNetwork: random() < 0.7,
      securityContext: random() < 0.3 ? { fsGroup: 4242 } : {},
      containers: [containerOf(pod, claim)],
      volumes: volumesOf(claim, verdicts),
    },
  }
  await insist(async () => client.create(pods, object)).catch(orWas(isAlreadyExists))
}

async function isReady({ client }: Soak, pod: string): Promise<boolean> {
  const { status } = await insist(async () => client.get(pods, metadata(pod)))
  return status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false
}

/** A pod, from its making until it is gone. Now and then its claim goes first, and waits for it. */
async function live(soak: Soak, pod: string): Promise<void> {
  const claim = pick(soak.claims)
  soak.users.set(claim.name, (soak.users.get(claim.name) ?? 0) + 1)
  await createPod(soak, pod, claim)
  const waits = random() < 0.6
  if (waits) {
    await until(`${pod} to be ready`, async () => isReady(soak, pod))
    soak.steps += 1
  }
  await pause(1500)
  // A pod that is not there yet would not get it any more.
  const retires = random() < 0.25 && soak.claims.includes(claim) && soak.users.get(claim.name) === 1
  if (retires) {
    note(`delete ${claim.name}`)
    soak.claims.splice(soak.claims.indexOf(claim), 1)
    await addClaim(soak)
    await insist(async () => soak.client.delete(persistentVolumeClaims, metadata(claim.name))).catch(orWas(isNotFound))
  }
  await removePod(soak, pod)
  soak.users.set(claim.name, (soak.users.get(claim.name) ?? 0) - 1)
}

async function changeConfig({ client, configs }: Soak): Promise<void> {
  const value = `${configs}`
  await insist(async () => client.patch(configMaps, metadata('config'), mergePatch({ data: { a: value, b: value } })))
}

/** What a node has of its pods and volumes, in the kernel and on disk. */
function left(): Record<string, string[]> {
  const below = (path: string): string[] => (existsSync(path) ? readdirSync(path) : [])
  const csi = join(kubelet, 'plugins/kubernetes.io/csi')
  return {
    pods: below(join(kubelet, 'pods')),
    staged: below(join(csi, 'hostpath.csi.k8s.io')),
    devices: below(join(csi, 'volumeDevices')).filter((each) => !/^(publish|staging)$/.test(each)),
    published: below(join(csi, 'volumeDevices/publish')),
    volumes: below(join(driverData, 'volumes')),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`${kubelet}/`)),
    loops: readLoops()
      .map(({ file }) => file)
      .filter((file) => file.includes(folder)),
    containers: below(join(config.root, 'runtime/containers')),
  }
}

const wrongs = (): string => {
  const file = join(verdicts, 'wrong')
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

async function makeWorld(soak: Soak): Promise<void> {
  const { client } = soak
  const driver = (driverName: string, modes: string[]): object => ({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name: driverName },
    spec: { attachRequired: false, fsGroupPolicy: 'File', volumeLifecycleModes: modes },
  })
  await client.create(csiDrivers, driver('hostpath.csi.k8s.io', ['Persistent']))
  await client.create(csiDrivers, driver('tmpfs.csi.example.com', ['Ephemeral']))
  for (const [className, parameters] of [
    ['folder', {}],
    ['image', { backing: 'image' }],
  ] as const) {
    await client.create(storageClasses, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: className },
      provisioner: 'hostpath.csi.k8s.io',
      volumeBindingMode: 'WaitForFirstConsumer',
      parameters,
    })
  }
  const data = { a: '0', b: '0' }
  await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('config'), data })
  for (let count = 0; count < claimsAlive; count += 1) await addClaim(soak)
}

const kubeconfig = join(config.root, 'cluster/admin.kubeconfig')
const areReady = async (soak: Soak, names: readonly string[]): Promise<boolean> =>
  (await Promise.all(names.map(async (pod) => isReady(soak, pod)))).every(Boolean)
const stayers = ['stayer-0', 'stayer-1', 'stayer-2']

/** Kills one after the other and starts it again, until the signal. */
async function trouble(soak: Soak, programs: Programs, signal: AbortSignal): Promise<void> {
  for (await pause(2000); !signal.aborted; await pause(4000)) {
    const what = random()
    const name = what < 0.7 ? 'agent' : what < 0.9 ? 'hostpath' : 'tmpfs'
    note(`kill ${name}`)
    await end(programs[name], name === 'agent' && random() < 0.15 ? 'SIGTERM' : 'SIGKILL')
    await pause(name === 'agent' ? 300 : 1500)
    programs[name] = begin[name]()
    // Mostly an agent lives long enough for some pods to start or go; else it is killed while it starts.
    const enough = soak.steps + (name === 'agent' && random() < 0.7 ? Math.floor(random() * 6) : 0)
    for (let left = 600; !signal.aborted && soak.steps < enough && left > 0; left -= 1) await sleep(100)
  }
}

/** Pods come and go while things are killed; ends when all of them have gone. @returns how many there were */
async function comeAndGo(soak: Soak, programs: Programs): Promise<number> {
  const endMs = performance.now() + seconds * 1000
  const stopping = new AbortController()
  let lives = 0
  const work = async (): Promise<void> => {
    while (performance.now() < endMs) await live(soak, `pod-${lives++}`)
  }
  const changes = async (): Promise<void> => {
    for (; !stopping.signal.aborted; await pause(1000)) {
      soak.configs += 1
      await changeConfig(soak)
    }
  }
  const others = Promise.all([trouble(soak, programs, stopping.signal), changes()])
  try {
    await Promise.all(Array.from({ length: together }, work))
  } finally {
    stopping.abort()
    await others
  }
  return lives
}

/** Every volume once more, with all that was written to it. */
async function audit(soak: Soak, claims: readonly Claim[]): Promise<void> {
  const auditors = claims.map((claim) => ({ pod: `auditor-${claim.name}`, claim }))
  await Promise.all(auditors.map(async ({ pod, claim }) => createPod(soak, pod, claim)))
  const names = auditors.map(({ pod }) => pod)
  await until('each claim in a new pod', async () => areReady(soak, names))
  await Promise.all([...stayers, ...names].map(async (pod) => removePod(soak, pod)))
}

async function removeClaims({ client }: Soak): Promise<void> {
  const { items } = await insist(async () => client.list(persistentVolumeClaims, { namespace }))
  for (const claim of items)
    await insist(async () => client.delete(persistentVolumeClaims, metadata(claim.metadata?.name ?? '')))
  await until('the volumes to go', async () => (await client.list(persistentVolumes)).items.length === 0)
}

async function main(): Promise<void> {
  const programs = { agent: begin.agent(), hostpath: begin.hostpath(), tmpfs: begin.tmpfs() }
  await until('the kubeconfig', async () => existsSync(kubeconfig))
  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  const soak: Soak = { client, claims: [], users: new Map(), nextClaim: 0, configs: 0, steps: 0 }
  const layout = await makeDemoImage(join(folder, 'image'), image)
  await until('the image', async () => {
    const [code] = (await once(run(cli, 'image', 'import', layout, ...flags), 'exit')) as [number]
    return code === 0
  })
  await makeWorld(soak)
  for (const [index, stayer] of stayers.entries()) await createPod(soak, stayer, soak.claims[index] as Claim)
  const ofStayers = soak.claims.splice(0, stayers.length)
  for (const _ of stayers) await addClaim(soak)
  await until('the pods that stay', async () => areReady(soak, stayers))
  note('ready')

  const lives = await comeAndGo(soak, programs)
  note('quiet')
  await until('all pods that stay to be ready', async () => areReady(soak, stayers))
  const restarts = async (pod: string): Promise<number | undefined> =>
    (await insist(async () => client.get(pods, metadata(pod)))).status?.containerStatuses?.[0]?.restartCount
  assert.deepEqual(await Promise.all(stayers.map(restarts)), [0, 0, 0])
  await audit(soak, [...soak.claims, ...ofStayers])
  assert.equal(wrongs(), '')
  await removeClaims(soak)
  const nothing = Object.fromEntries(Object.keys(left()).map((key) => [key, [] as string[]]))
  const isEmpty = async (): Promise<boolean> => JSON.stringify(left()) === JSON.stringify(nothing)
  await until('nothing to be left', isEmpty).catch(() => undefined)
  assert.deepEqual(left(), nothing)
  console.log(`${lives} pods`)
}

try {
  const tooLong = sleep(400_000 + seconds * 2000).then(() => Promise.reject(new Error('it takes too long')))
  await Promise.race([main(), tooLong])
} catch (error) {
  const last = existsSync(story) ? readFileSync(story, 'utf8').split('\n').slice(-15) : []
  console.error(error, `${wrongs()}${last.join('\n')}`)
  process.exitCode = 1
} finally {
  if (keep && process.exitCode === 1) {
    console.error(`kept: ${folder}`)
    await sleep(1e9)
  }
  for (const child of children) await end(child)
  const log = pino({ level: 'silent' })
  await resetMachine(parseConfig(config, 'soak'), log, () => undefined)
  // Those of the driver, which had no time to give them back.
  for (const { path, file } of readLoops()) if (file.startsWith(folder)) detachLoop(path)
  rmSync(folder, { recursive: true, force: true })
}
process.exit()
