// A whole node, from the outside: kubectl, kill -9, reset.
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { machineState } from './state.ts'
import type { MachineState } from './state.ts'

const root = resolve(import.meta.dirname, '..')
let machine: TestMachine
let before: MachineState
let agent: Awaited<ReturnType<TestMachine['up']>>

/** Other tests may run meanwhile: what they have is not ours. */
const ours = (state: MachineState, machineFolder: string): MachineState => {
  const name = machineFolder.slice(machineFolder.lastIndexOf('-') + 1)
  return {
    ...state,
    mounts: state.mounts.filter((line) => line.includes(name)),
    cgroups: state.cgroups.filter((line) => line.includes(name)),
    processes: [],
  }
}

beforeAll(async () => {
  machine = await makeMachine()
  before = ours(await machineState(machine), machine.folder)
})
afterAll(async () => machine[Symbol.asyncDispose]())

const pods = async (...args: string[]): Promise<Pod[]> =>
  (JSON.parse(await machine.kubectl('get', 'pods', '-o', 'json', ...args)) as { items: Pod[] }).items
const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
const pod = (name: string, script: string, more: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: 'localhost/nodelet-demo:1',
          imagePullPolicy: 'IfNotPresent',
          command: ['/bin/sh', '-c', script],
          ...more,
        },
      ],
    },
  })
const eventually = { timeout: 30_000, interval: 100 }

test('npm start -- --once shows the app and leaves nothing', async () => {
  const { code, stdout, stderr } = await machine.run(
    'node',
    join(root, 'tools/setup.mjs'),
    'start',
    '--once',
    ...machine.flags,
  )
  expect(stderr).toBe('')
  expect(stdout).toMatch(/✓ cluster ready in \d+ ms: https:\/\/127\.0\.0\.1:6443/)
  expect(stdout).toMatch(/hello-\S+ +Running +10\.88\.0\.\d+( +\d+){4}/)
  const answers = [...stdout.matchAll(/^ {4}(hello-\S+) {2}●+ (\d+)$/gm)].map(([, who, times]) => ({
    who,
    times: Number(times),
  }))
  expect(answers.reduce((sum, { times }) => sum + times, 0)).toBe(20)
  expect(new Set(answers.map(({ who }) => who)).size).toBe(2)
  expect(code).toBe(0)
  expect(ours(await machineState(machine), machine.folder)).toEqual(before)
}, 120_000)

test('kubectl sees the node and its system', async () => {
  const proxyConfig = join(machine.folder, 'proxy.yaml')
  writeFileSync(
    proxyConfig,
    'enableProfiling: true\nconntrack: {udpTimeout: 77s}\nmetricsBindAddress: 127.0.0.1:20249\n',
  )
  agent = await machine.up('--proxy-config', proxyConfig)
  await machine.kubectl('wait', '--for=condition=Ready', 'node', '--all', '--timeout=20s')
  expect(await machine.kubectl('get', 'nodes', '-o', 'wide')).toMatch(
    /Ready +\S+ +\d+s +v\S+ +192\.0\.2\.10 .*nodelet:\/\//,
  )
  expect(await machine.kubectl('describe', 'node')).toMatch(/KubeletReady/)
  expect(await machine.kubectl('get', 'pods', '-A', '-o', 'wide')).toBe('')
  expect((await machine.run('iptables', '-t', 'mangle', '-S')).stdout).toContain('-N KUBE-KUBELET-CANARY')
  const get = async (url: string): Promise<string> =>
    (await machine.run('busybox', 'wget', '-q', '-O', '-', `http://127.0.0.1:${url}`)).stdout
  expect(await get('20249/proxyMode')).toBe('iptables')
  expect(JSON.parse(await get('20249/configz'))).toMatchObject({
    'kubeproxy.config.k8s.io': { clusterCIDR: '10.88.0.0/16', iptables: { minSyncPeriod: '100ms' } },
  })
  expect(await get('10256/healthz')).toContain('"nodeEligible":true,"healthy":true')
  expect(await get('20249/debug/pprof/cmdline')).toContain('proxy.yaml')
  expect((await machine.run('cat', '/proc/sys/net/netfilter/nf_conntrack_udp_timeout')).stdout).toBe('77\n')
  expect(await machine.kubectl('get', 'events', '--field-selector', 'reason=Starting')).toMatch(
    /Normal +Starting +node\//,
  )
  const firewall = (await machine.run('iptables', '-S')).stdout
    .split('\n')
    .filter((line) => line.includes('KUBE-FIREWALL'))
  expect(firewall.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
    '-N KUBE-FIREWALL',
    '-A INPUT',
    '-A OUTPUT',
    '-A KUBE-FIREWALL',
  ])
})

test('an image is imported, and a pod of it runs with limits, logs, exec and events', async () => {
  const { makeDemoImage } = await import('../packages/node-agent/src/demo/image.ts')
  const layout = await makeDemoImage(join(machine.folder, 'image'), 'localhost/nodelet-demo:1')
  const imported = await machine.nodelet('image', 'import', layout, ...machine.flags)
  expect(imported.stdout).toMatch(/localhost\/nodelet-demo:1 +[0-9a-f]{12} +1\.\d MiB/)
  expect((await machine.nodelet('image', 'ls', ...machine.flags)).stdout).toContain('localhost/nodelet-demo:1')

  const script = 'for i in 1 2 3; do echo line $i; done; while :; do sleep 0.2; echo tick; done'
  const resources = { limits: { memory: '32Mi', cpu: '200m' } }
  await machine.kubectlWith(pod('talker', script, { resources }), 'apply', '-f', '-')
  await machine.kubectl('wait', '--for=condition=Ready', 'pod/talker', '--timeout=20s')
  expect(await machine.kubectl('get', 'pods', '-A', '-o', 'wide')).toMatch(
    /default +talker +1\/1 +Running +0 +\d+s +10\.88\.0\.\d+/,
  )
  expect(await machine.kubectl('logs', 'talker', '--tail=2')).toMatch(/^(line \d|tick)\n(line \d|tick)\n$/)
  const memory = '/sys/fs/cgroup/memory/memory.limit_in_bytes'
  expect(await machine.kubectl('exec', 'talker', '--', 'cat', memory)).toBe(`${32 << 20}\n`)
  const failed = await machine.run('kubectl', 'exec', 'talker', '--', 'sh', '-c', 'exit 7')
  expect(failed.code).toBe(7)
  const described = await machine.kubectl('describe', 'pod', 'talker')
  for (const reason of ['Scheduled', 'Pulled', 'Created', 'Started'])
    expect(described).toMatch(new RegExp(`Normal +${reason}`))
  expect(described).toMatch(/QoS Class: +Guaranteed/)
})

test('logs -f goes on until the container ends', async () => {
  await machine.kubectlWith(pod('brief', 'echo one; sleep 1; echo two'), 'apply', '-f', '-')
  await expect.poll(async () => (await pods('-l', 'app=brief'))[0]?.status?.phase, eventually).toBe('Running')
  expect(await machine.kubectl('logs', '-f', 'brief')).toMatch(/^one\ntwo\n/)
})

test('a Deployment behind a Service answers on cluster IP and node port, and scales', async () => {
  const labels = { app: 'web' }
  const container = {
    name: 'web',
    image: 'localhost/nodelet-demo:1',
    imagePullPolicy: 'IfNotPresent',
    ports: [{ name: 'http', containerPort: 8080 }],
    readinessProbe: { tcpSocket: { port: 'http' }, periodSeconds: 1 },
  }
  const objects = [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { terminationGracePeriodSeconds: 1, containers: [container] } },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web' },
      spec: { type: 'NodePort', selector: labels, ports: [{ port: 80, targetPort: 'http', nodePort: 30080 }] },
    },
  ]
  await machine.kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }), 'apply', '-f', '-')
  await machine.kubectl('rollout', 'status', 'deployment/web', '--timeout=30s')
  const ip = await machine.kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}')
  const ask = async (host: string): Promise<string> =>
    (await machine.run('busybox', 'wget', '-q', '-O', '-', `http://${host}/cgi-bin/who`)).stdout.trim()
  await expect.poll(async () => ask(ip), eventually).toMatch(/^web-/)
  const seen = new Set<string>()
  for (let calls = 0; calls < 20; calls += 1) seen.add(await ask(ip))
  expect(seen.size).toBe(2)
  expect(await ask('192.0.2.10:30080')).toMatch(/^web-/)
  const traced = await machine.nodelet('trace', 'default/web', '--from', '198.51.100.7', ...machine.flags)
  const [head, ...ways] = traced.stdout.trim().split('\n')
  expect(head).toBe(
    `TCP 198.51.100.7 → ${ip} port 80, in by ${head?.match(/in by (\S+);/)?.[1]}; cluster IP of default/web; iptables`,
  )
  expect(
    ways.filter((line) => /^ +50 % {2}accept {2}→ 10\.88\.0\.\d+ port 8080 {2}masqueraded$/.test(line)),
  ).toHaveLength(2)
  expect(ways).toContainEqual(expect.stringMatching(/^ +nat KUBE-SERVICES .*"default\/web cluster IP".* -j KUBE-SVC-/))
  await machine.kubectl('scale', 'deployment/web', '--replicas=1')
  await expect.poll(async () => (await pods('-l', 'app=web')).length, eventually).toBe(1)
  await machine.kubectl('delete', 'deployment/web', 'service/web')
  await expect.poll(async () => (await pods('-l', 'app=web')).length, eventually).toBe(0)
}, 90_000)

test('what is wrong with a pod is told where people look', async () => {
  const wrong = pod('unknown-image', 'true', { image: '127.0.0.1:9/none:1', imagePullPolicy: 'Always' })
  await machine.kubectlWith(wrong, 'apply', '-f', '-')
  await machine.kubectlWith(
    pod('no-config', 'true', { envFrom: [{ configMapRef: { name: 'missing' } }] }),
    'apply',
    '-f',
    '-',
  )
  await machine.kubectlWith(pod('crasher', 'echo broken; exit 3'), 'apply', '-f', '-')
  const waiting = async (name: string): Promise<string | undefined> =>
    (await pods('-l', `app=${name}`))[0]?.status?.containerStatuses?.[0]?.state?.waiting?.reason
  await expect.poll(async () => waiting('unknown-image'), eventually).toMatch(/ErrImagePull|ImagePullBackOff/)
  await expect.poll(async () => waiting('unknown-image'), eventually).toBe('ImagePullBackOff')
  await expect.poll(async () => waiting('no-config'), eventually).toBe('CreateContainerConfigError')
  await expect.poll(async () => waiting('crasher'), eventually).toBe('CrashLoopBackOff')
  const events = await machine.kubectl('get', 'events')
  expect(events).toMatch(/Failed to pull image "127\.0\.0\.1:9\/none:1": .*connection refused|ECONNREFUSED/)
  expect(events).toContain('configmap "missing" not found')
  expect(await machine.kubectl('logs', 'crasher', '--previous')).toBe('broken\n')
  await machine.kubectl('delete', 'pod', 'unknown-image', 'no-config', 'crasher', '--wait=true')
}, 90_000)

test('a manifest in the folder runs; a broken one is told and disturbs nothing', async () => {
  const folder = join(machine.folder, 'state/manifests')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'broken.yaml'), 'kind: Pod\nspec: {containers: 7}\n')
  writeFileSync(join(folder, 'static.json'), pod('static', 'sleep 1000'))
  await expect.poll(async () => (await pods('-l', 'app=static'))[0]?.status?.phase, eventually).toBe('Running')
  expect((await pods('-l', 'app=static'))[0]?.metadata?.name).toMatch(/^static-/)
  expect(machine.log()).toContain('broken.yaml')
})

const kubelet = (): string => join(machine.folder, 'state/kubelet')
/** Where the hostpath driver has its data: not below the node's folders. */
const driverData = (): string => join(machine.folder, 'driver')
const volumesOfDriver = (): string[] => readdirSync(join(driverData(), 'volumes'))
/** What is mounted in the kubelet's folder. */
const volumeMounts = async (): Promise<string[]> =>
  (await machineState(machine)).mounts.filter((line) => line.includes(`${kubelet()}/`))
const example = (path: string): string => join(root, 'examples', path)
const claim = (): string =>
  readFileSync(example('csi-hostpath/claim.yaml'), 'utf8').replace(
    /image: busybox$/m,
    'image: localhost/nodelet-demo:1',
  )
const starts = async (): Promise<string[]> =>
  (await machine.kubectl('exec', 'writer', '--', 'cat', '/data/starts')).trim().split('\n')
let mountsWithoutDrivers: string[]

test('a claim becomes a volume whose data outlive a pod; an inline volume is memory of the size that the pod asks for', async () => {
  mountsWithoutDrivers = await volumeMounts()
  const run = (program: string, ...args: string[]): unknown =>
    machine.spawn(process.execPath, '--conditions=@nodelet/source', program, ...args)
  run(join(import.meta.dirname, 'hostpath-driver.ts'), '--root-dir', kubelet(), '--statedir', driverData())
  run(example('csi-tmpfs/tmpfs.ts'), kubelet())
  await machine.kubectlWith(claim(), 'apply', '-f', '-')
  const driver = { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name: 'tmpfs.csi.example.com' } }
  const spec = { attachRequired: false, volumeLifecycleModes: ['Ephemeral'] }
  await machine.kubectlWith(JSON.stringify({ ...driver, spec }), 'apply', '-f', '-')
  const scratch = JSON.parse(pod('scratch', 'sleep 1000')) as Pod
  const csi = { driver: 'tmpfs.csi.example.com', volumeAttributes: { size: '8m' } }
  Object.assign(scratch.spec ?? {}, { volumes: [{ name: 'memory', csi }] })
  Object.assign(scratch.spec?.containers[0] ?? {}, { volumeMounts: [{ name: 'memory', mountPath: '/memory' }] })
  await machine.kubectlWith(JSON.stringify(scratch), 'apply', '-f', '-')
  await machine.kubectl('wait', '--for=condition=Ready', 'pod/writer', 'pod/scratch', '--timeout=30s')
  expect(await machine.kubectl('exec', 'scratch', '--', 'df', '-P', '/memory')).toMatch(/^tmpfs +8192 .* \/memory$/m)
  expect(await machine.kubectl('get', 'pvc', 'data')).toMatch(/data +Bound +pvc-\S+ +100Mi +RWO +hostpath/)
  const [first] = await starts()
  await machine.kubectl('delete', 'pod', 'writer')
  expect(volumesOfDriver()).toHaveLength(1)
  await machine.kubectlWith(claim(), 'apply', '-f', '-')
  await machine.kubectl('wait', '--for=condition=Ready', 'pod/writer', '--timeout=30s')
  expect(await starts()).toEqual([first, expect.any(String)])
}, 90_000)

test('kill -9 and a new start find the same containers and volumes, unrestarted', async () => {
  const isLasting = ({ metadata }: Pod): boolean => /^(talker|static|writer|scratch)/.test(metadata?.name ?? '')
  const lasting = async (): Promise<Pod[]> => (await pods()).filter(isLasting)
  const [wereMounted, wereWritten] = [await volumeMounts(), await starts()]
  const ids = async (): Promise<(string | undefined)[]> =>
    (await lasting())
      .filter(isReady)
      .map(({ status }) => status?.containerStatuses?.[0]?.containerID)
      .toSorted((a = '', b = '') => (a < b ? -1 : 1))
  const running = await ids()
  expect(running).toHaveLength(4)
  const counts = async (): Promise<number[]> =>
    (await lasting()).flatMap(({ status }) => status?.containerStatuses?.map(({ restartCount }) => restartCount) ?? [])
  const restarts = await counts()
  agent.kill('SIGKILL')
  await once(agent, 'exit')
  agent = await machine.up()
  await expect.poll(ids, eventually).toEqual(running)
  expect(await counts()).toEqual(restarts)
  expect(await machine.kubectl('exec', 'talker', '--', 'echo', 'still here')).toBe('still here\n')
  expect(await starts()).toEqual(wereWritten)
  expect(await volumeMounts()).toEqual(wereMounted)
})

test('the data go with the claim, and no mount stays', async () => {
  await machine.kubectl('delete', 'pod', 'writer', 'scratch')
  await machine.kubectl('delete', 'pvc', 'data')
  await expect.poll(volumesOfDriver, eventually).toEqual([])
  await expect.poll(async () => machine.kubectl('get', 'pv', '-o', 'name'), eventually).toBe('')
  await expect.poll(volumeMounts, eventually).toEqual(mountsWithoutDrivers)
  // One that is there when the node is reset.
  await machine.kubectlWith(claim(), 'apply', '-f', '-')
})

/** Another node on the same machine. */
const elsewhere = (): string[] => [
  '--root',
  join(machine.folder, 'other'),
  '--run',
  `${machine.flags[3] ?? ''}2`,
  '--cgroup-root',
  `${machine.flags[5] ?? ''}2`,
]

test('a second agent, a taken port and a wrong configuration are told, and change nothing', async () => {
  const second = await machine.nodelet('up', ...machine.flags)
  expect(second.code).toBe(1)
  expect(second.stderr).toMatch(/✗ nodelet already runs here: process \d+ since .*\n→ use it, or stop it/)
  const taken = await machine.nodelet('up', ...elsewhere())
  expect(taken.code).toBe(1)
  expect(taken.stderr).toMatch(/127\.0\.0\.1:6443: another program listens there .*--api-port/)
  writeFileSync(join(machine.folder, 'config.yaml'), 'rooot: /x\napiPort: 70000\n')
  const wrong = await machine.nodelet('up', '--config', join(machine.folder, 'config.yaml'))
  expect(wrong.code).toBe(1)
  expect(wrong.stderr).toMatch(/config\.yaml:\n[\s\S]*apiPort: .*70000[\s\S]*rooot/)
  expect((await machine.nodelet('image', 'pull', '127.0.0.1:9/none:1', ...machine.flags)).stderr).toMatch(
    /✗ .*127\.0\.0\.1:9/,
  )
})

test('SIGTERM leaves containers running; reset removes everything but the data of volumes', async () => {
  await machine.kubectl('wait', '--for=condition=Ready', 'pod/writer', '--timeout=30s')
  const [volume = ''] = volumesOfDriver()
  agent.kill('SIGTERM')
  const [code] = (await once(agent, 'exit')) as [number]
  expect(code).toBe(0)
  const left = ours(await machineState(machine), machine.folder)
  expect(left.mounts).not.toEqual([])
  expect(await machine.nodelet('proxy', '--cleanup')).toMatchObject({ code: 0, stderr: '' })
  const rules = (await machine.run('iptables-save')).stdout
  // What is the kubelet's stays.
  expect([rules.includes('KUBE-SERVICES'), rules.includes('KUBE-IPTABLES-HINT')]).toEqual([false, true])
  expect(await machine.nodelet('reset', ...elsewhere())).toMatchObject({ code: 0, stderr: '' })
  const reset = await machine.nodelet('reset', ...machine.flags)
  expect(reset.stderr).toBe('')
  expect(reset.stdout).toContain('✓ nothing of nodelet is left')
  expect(ours(await machineState(machine), machine.folder)).toEqual(before)
  expect(existsSync(join(machine.folder, 'state'))).toBe(false)
  expect(readFileSync(join(driverData(), 'volumes', volume, 'starts'), 'utf8')).toMatch(/^.* UTC .*\n$/)
})
