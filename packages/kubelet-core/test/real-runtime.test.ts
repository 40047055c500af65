// Pods in containers that really run: manifests folder → kubelet → the runtime of this repository → processes.
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { openCgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { request } from 'node:https'
import { userNamespaceObstacle } from '../../runtime-runc/src/user-namespace-support.ts'
import { makeImage } from '../../runtime-runc/test/registry.ts'
import { makeRuntime } from '../../runtime-runc/test/runtime-fixture.ts'
import type { Kubelet } from '../src/config.ts'
import { createKubelet } from '../src/kubelet.ts'
import type { Summary } from '../src/stats/summary-types.ts'
import { parseMetrics } from './metrics/parser.ts'
import { until } from './until.ts'
import { type Authorities, makeAuthorities, type Pair } from './server/certificates.ts'

// Not every kernel or disk has what they need.
const noUserNamespaces = await userNamespaceObstacle(tmpdir())

let f: Awaited<ReturnType<typeof makeRuntime>>
let folder: string
let cgroupRoot: string
let kubelet: Kubelet
let authorities: Authorities
let serving: Pair & { ca: string; client: Pair }

async function open(): Promise<Kubelet> {
  const made = await createKubelet({
    nodeName: 'node-1',
    nodeIPs: ['192.0.2.1'],
    ...f.runtime,
    rootDir: join(folder, 'root'),
    configuration: {
      podLogsDir: join(folder, 'logs'),
      staticPodPath: join(folder, 'manifests'),
      clusterDNS: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      containerLogMaxSize: '16Ki',
      containerLogMonitorInterval: '3s',
      cgroupRoot,
    },
    server: { address: '127.0.0.1', port: 0, certificate: serving.cert, key: serving.key, clientCa: serving.ca },
    ...(process.env['NODELET_LOG'] && { log: console as never }),
  })
  await made.start()
  return made
}

async function put(name: string, spec: object): Promise<void> {
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { terminationGracePeriodSeconds: 2, ...spec } }
  const path = join(folder, 'manifests', `.${name}`)
  await writeFile(path, JSON.stringify(pod))
  await rename(path, join(folder, 'manifests', `${name}.json`))
}

const podOf = (name: string): Pod | undefined =>
  kubelet.pods().find(({ metadata }) => metadata?.name === `${name}-node-1`)
const readyOf = async (name: string): Promise<Pod> =>
  until(() => {
    const pod = podOf(name)
    return pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && pod
  })
const logOf = async (pod: Pod, file: string): Promise<string> => {
  const { namespace, name, uid } = pod.metadata ?? {}
  return readFile(join(folder, 'logs', `${namespace}_${name}_${uid}`, file), 'utf8')
}
const shell = (name: string, script: string, more: object = {}) => ({
  name,
  image: f.image,
  imagePullPolicy: 'IfNotPresent',
  command: ['/bin/sh', '-c', script],
  ...more,
})

beforeAll(async () => {
  f = await makeRuntime()
  await chmod(f.folder, 0o711) // the root of a user namespace passes it
  cgroupRoot = f.cgroup
  folder = await mkdtemp(join(tmpdir(), 'nk-'))
  authorities = makeAuthorities()
  const authority = authorities.make('ca')
  serving = {
    ...authority.sign('/CN=node-1'),
    ca: authority.cert,
    client: authority.sign('/O=system:masters/CN=admin'),
  }
  kubelet = await open()
})
afterAll(async () => {
  await kubelet?.removeAllPods()
  await (await openCgroups()).remove(`${cgroupRoot}/kubepods`)
  await f?.[Symbol.asyncDispose]()
  authorities[Symbol.dispose]()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(() => {
  f.problems.length = 0
})

it('a pod runs, with its environment, hosts file, volume, cgroup and log', async () => {
  const began = Date.now()
  const script = 'echo $GREETING from $(hostname); cat /etc/hosts; echo data > /work/file; id; exec sleep 600'
  await put('web', {
    hostAliases: [{ ip: '192.0.2.9', hostnames: ['friend'] }],
    volumes: [{ name: 'work' }],
    containers: [
      shell('main', script, {
        env: [{ name: 'GREETING', value: 'hello' }],
        volumeMounts: [
          { name: 'work', mountPath: '/work' },
          { name: 'work', mountPath: '/sub', subPath: 'below' },
        ],
        resources: { requests: { cpu: '100m' }, limits: { memory: '64Mi' } },
        securityContext: { runAsUser: 1000, runAsGroup: 1001 },
      }),
    ],
    securityContext: { fsGroup: 1001 },
  })
  const pod = await readyOf('web')
  if (process.env['NODELET_LOG']) console.log('ready after', Date.now() - began)
  const ip = pod.status?.podIP ?? ''
  expect(ip).toMatch(/^10\.88\./)
  // What it prints last.
  await expect.poll(() => logOf(pod, 'main/0.log')).toMatch(/uid=1000\(web\) gid=1001/)
  const log = await logOf(pod, 'main/0.log')
  expect(log).toContain('hello from web-node-1')
  expect(log).toContain(`${ip}\tweb-node-1`)
  expect(log).toContain('192.0.2.9\tfriend')
  const volume = join(folder, 'root/pods', pod.metadata?.uid ?? '', 'volumes/kubernetes.io~empty-dir/work')
  expect((await readdir(volume)).toSorted()).toEqual(['below', 'file'])
  const cgroups = await openCgroups()
  const path = `${cgroupRoot}/kubepods/burstable/pod${pod.metadata?.uid}`
  expect((await cgroups.processes(path)).length).toBeGreaterThan(0)
  expect((await cgroups.stats(path)).memory?.limit).toBe(64 * 1024 * 1024)
})

it.skipIf(noUserNamespaces !== undefined)(
  'a pod with hostUsers: false is root within, and nobody special on the node',
  async () => {
    const script = 'cat /proc/self/uid_map; id -u; echo data > /work/file; ls -ln /work /etc/hosts; exec sleep 600'
    await put('userns', {
      hostUsers: false,
      volumes: [{ name: 'work' }],
      containers: [shell('main', script, { volumeMounts: [{ name: 'work', mountPath: '/work' }] })],
    })
    const pod = await readyOf('userns')
    const uid = pod.metadata?.uid ?? ''
    await expect.poll(() => logOf(pod, 'main/0.log')).toMatch(/ \/etc\/hosts\n[^]* file\n/)
    const log = await logOf(pod, 'main/0.log')
    expect(log).toMatch(/F +0 +65536 +65536\n.* F 0\n/)
    // The file is root's within, by an id-mapped mount also on the node's disk.
    expect(log).toMatch(/ 0 +0 .* file\n/)
    expect(log).toMatch(/ 0 +0 .* \/etc\/hosts\n/)
    const file = await stat(join(folder, 'root/pods', uid, 'volumes/kubernetes.io~empty-dir/work/file'))
    expect([file.uid, file.gid]).toEqual([0, 0])
    const cgroups = await openCgroups()
    const [pid] = await cgroups.processes(`${cgroupRoot}/kubepods/besteffort/pod${uid}`)
    expect((await stat(`/proc/${pid}`)).uid).toBe(65_536)
    const record = join(folder, 'root/pods', uid, 'userns')
    const mapping = [{ hostId: 65_536, containerId: 0, length: 65_536 }]
    expect(JSON.parse(await readFile(record, 'utf8'))).toEqual({ uidMappings: mapping, gidMappings: mapping })
    await rm(join(folder, 'manifests', 'userns.json'))
    await expect.poll(() => existsSync(record)).toBe(false)
    expect(f.problems).toEqual([])
  },
)

async function get(path: string): Promise<string> {
  const { cert, key } = serving.client
  return new Promise<string>((resolve, reject) => {
    const options = { host: '127.0.0.1', port: kubelet.port, path, ca: serving.ca, cert, key, servername: 'localhost' }
    request(options, (response) => {
      response.setEncoding('utf8')
      response.toArray().then((parts) => resolve(parts.join('')), reject)
    })
      .once('error', reject)
      .end()
  })
}

it('its log comes through the server', async () => {
  expect(await get('/containerLogs/default/web-node-1/main?tailLines=1')).toMatch(/^uid=1000\(web\)/)
})

it('what it uses comes through the server: the summary, and pages that Prometheus reads', async () => {
  const summary = JSON.parse(await get('/stats/summary')) as Summary
  const pod = summary.pods.find(({ podRef }) => podRef.name === 'web-node-1')
  const main = pod?.containers.find(({ name }) => name === 'main')
  for (const value of [
    summary.node.cpu?.usageCoreNanoSeconds,
    summary.node.memory?.workingSetBytes,
    summary.node.fs?.capacityBytes,
    summary.node.runtime?.imageFs?.capacityBytes,
    summary.node.rlimit?.curproc,
    pod?.cpu?.usageCoreNanoSeconds,
    pod?.memory?.workingSetBytes,
    pod?.['ephemeral-storage']?.usedBytes,
    pod?.process_stats?.process_count,
    main?.cpu?.usageCoreNanoSeconds,
    main?.memory?.workingSetBytes,
    main?.logs?.usedBytes,
  ]) {
    expect(value).toBeGreaterThan(0)
  }
  expect(pod?.network?.name).toBe('eth0')
  expect(pod?.volume?.[0]?.inodesUsed).toBeGreaterThan(0)
  const brief = JSON.parse(await get('/stats/summary?only_cpu_and_memory=true')) as Summary
  expect(Object.keys(brief.pods[0] ?? {}).toSorted()).toEqual([
    'containers',
    'cpu',
    'memory',
    'podRef',
    'startTime',
    'swap',
  ])

  const resource = parseMetrics(await get('/metrics/resource'))
  const owners = resource.get('container_memory_working_set_bytes')?.samples.map(({ labels }) => labels)
  expect(owners).toContainEqual({ container: 'main', namespace: 'default', pod: 'web-node-1' })
  const cadvisor = parseMetrics(await get('/metrics/cadvisor'))
  const cpu = cadvisor.get('container_cpu_usage_seconds_total')?.samples
  expect(cpu?.some(({ labels }) => labels['container'] === 'main' && labels['pod'] === 'web-node-1')).toBe(true)
  expect(cpu?.some(({ labels }) => labels['id'] === '/')).toBe(true)

  const own = parseMetrics(await get('/metrics'))
  expect(own.get('kubelet_running_pods')?.samples[0]?.value).toBeGreaterThan(0)
  expect(own.get('kubelet_runtime_operations_total')?.samples.map(({ labels }) => labels['operation_type'])).toEqual(
    expect.arrayContaining(['run_podsandbox', 'create_container', 'start_container', 'image_status']),
  )
  const measured = own.get('kubelet_volume_metric_collection_duration_seconds')?.samples
  expect(measured?.find(({ name }) => name?.endsWith('_count'))?.value).toBeGreaterThan(0)
  expect(parseMetrics(await get('/metrics/probes')).has('prober_probe_total')).toBe(true)
})

it('variables come from a file that an init container has written; a container without its key waits', async () => {
  const ref = (key: string, more: object = {}) => ({
    name: `FROM_${key}`,
    valueFrom: { fileKeyRef: { volumeName: 'made', path: 'here/settings.env', key, ...more } },
  })
  const noFile = {
    name: 'NO_FILE',
    valueFrom: { fileKeyRef: { volumeName: 'made', path: 'nowhere.env', key: 'A', optional: true } },
  }
  await put('from-file', {
    volumes: [{ name: 'made', emptyDir: {} }],
    initContainers: [
      shell('writer', `mkdir /made/here; printf "# made\\nA='one two'\\n" > /made/here/settings.env`, {
        volumeMounts: [{ name: 'made', mountPath: '/made' }],
      }),
    ],
    containers: [
      shell('reader', 'echo "[$FROM_A][${FROM_B-unset}][${NO_FILE-unset}]"; exec sleep 600', {
        env: [ref('A'), ref('B', { optional: true }), noFile],
      }),
      shell('without', 'exec sleep 600', { env: [ref('B')] }),
    ],
  })
  const waiting = () =>
    podOf('from-file')?.status?.containerStatuses?.find((one) => one.name === 'without')?.state?.waiting
  await expect.poll(waiting).toEqual({
    reason: 'CreateContainerConfigError',
    message: 'environment variable key "B" not found in file "here/settings.env"',
  })
  const pod = podOf('from-file')
  await expect.poll(async () => (pod ? logOf(pod, 'reader/0.log') : '')).toMatch(/F \[one two\]\[unset\]\[unset\]\n/)
})

it('a volume may be an image: it is pulled, mounted read-only, and kept while the pod is there', async () => {
  await f.registry.push('volumes/data:1', await makeImage([[{ name: 'folder/file', content: 'from an image\n' }]]))
  const reference = `${f.registry.host}/volumes/data:1`
  const mounts = [
    { name: 'files', mountPath: '/files' },
    { name: 'files', mountPath: '/part', subPath: 'folder' },
  ]
  const script = 'cat /files/folder/file /part/file; touch /files/x || echo; echo refused; sleep 600'
  await put('imaged', {
    containers: [shell('main', script, { volumeMounts: mounts })],
    volumes: [{ name: 'files', image: { reference, pullPolicy: 'IfNotPresent' } }],
  })
  const pod = await readyOf('imaged')
  const log = async (): Promise<string> => logOf(pod, 'main/0.log')
  await expect.poll(log).toContain('refused')
  expect((await log()).match(/ F from an image$/gm)).toHaveLength(2)
  await put('unpullable', {
    containers: [shell('main', 'true', { volumeMounts: [{ name: 'files', mountPath: '/files' }] })],
    volumes: [{ name: 'files', image: { reference: `${f.registry.host}/none:1` } }],
  })
  const waiting = () => podOf('unpullable')?.status?.containerStatuses?.[0]?.state?.waiting?.reason
  await expect.poll(waiting).toMatch(/^(ErrImagePull|ImagePullBackOff)$/)
  for (const name of ['imaged', 'unpullable']) await rm(join(folder, `manifests/${name}.json`))
  await until(() => !podOf('imaged') && !podOf('unpullable'))
})

/** Everything that a container wrote, oldest first; again when a rotation came between. */
async function readRotated(logs: string): Promise<string> {
  const names = (await readdir(logs)).filter((name) => name !== '0.log').toSorted()
  expect(names.length).toBeLessThanOrEqual(4)
  try {
    const texts = [...names, '0.log'].map(async (name) => {
      const content = await readFile(join(logs, name))
      return (name.endsWith('.gz') ? gunzipSync(content) : content).toString()
    })
    return (await Promise.all(texts)).join('')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return readRotated(logs)
    throw error
  }
}

it('the log of a running container is rotated, and collectors find it by a link', async () => {
  const line = 'x'.repeat(99)
  await put('chatty', {
    containers: [shell('app', `i=0; while true; do echo $i ${line}; i=$((i+1)); sleep 0.005; done`)],
  })
  const pod = await readyOf('chatty')
  const { namespace, name, uid } = pod.metadata ?? {}
  const logs = join(folder, 'logs', `${namespace}_${name}_${uid}`, 'app')
  const rotated = async (): Promise<boolean> => (await readdir(logs)).some((one) => one.endsWith('.gz'))
  await expect.poll(rotated, { interval: 100 }).toBe(true)
  const [, id] = pod.status?.containerStatuses?.[0]?.containerID?.split('://') ?? []
  const link = join(folder, 'containers', `${name}_${namespace}_app-${id}.log`)
  // In the midst of a rotation it leads to a file that is not there again yet.
  await vi.waitFor(async () => expect(await realpath(link)).toBe(join(logs, '0.log')), { timeout: 20_000 })

  const all = await readRotated(logs)
  const numbers = all.split('\n').flatMap((one) => /^\S+ stdout F (\d+) /.exec(one)?.[1] ?? [])
  const first = Number(numbers[0])
  expect(numbers).toEqual(numbers.map((_, index) => String(first + index)))

  await rm(join(folder, 'manifests/chatty.json'))
  await until(() => !podOf('chatty'))
  await expect.poll(() => existsSync(join(folder, 'logs', `${namespace}_${name}_${uid}`))).toBe(false)
})

it('a rule restarts all containers in place: the sandbox stays, and init containers run again', async () => {
  const rule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }
  const mount = { volumeMounts: [{ name: 'data', mountPath: '/data' }] }
  // The first life of `main` asks for a restart of all, the second stays.
  const once = 'if [ -e /data/again ]; then sleep 600; fi; touch /data/again; sleep 0.5; exit 42'
  await put('together', {
    restartPolicy: 'Never',
    initContainers: [shell('init', 'echo run >> /data/inits', mount)],
    containers: [
      shell('main', once, { ...mount, restartPolicy: 'Never', restartPolicyRules: [rule] }),
      shell('other', 'trap exit TERM; sleep 600 & wait', mount),
    ],
    volumes: [{ name: 'data', emptyDir: {} }],
  })
  const status = (name: string) => podOf('together')?.status?.containerStatuses?.find((one) => one.name === name)
  const first = await until(() => status('other')?.state?.running && podOf('together'))
  await until(() => status('main')?.restartCount === 1 && status('other')?.restartCount === 1 && status('main')?.ready)
  const after = await readyOf('together')
  expect(after.status?.podIP).toBe(first.status?.podIP)
  expect(after.status?.initContainerStatuses?.[0]?.restartCount).toBe(1)
  expect(status('main')?.lastState?.terminated?.exitCode).toBe(42)
  expect(status('other')?.lastState?.terminated).toMatchObject({
    exitCode: 137,
    reason: 'RestartingAllContainers',
    message: 'The container is removed because RestartAllContainers in place',
  })
  expect(after.status?.conditions?.some(({ type }) => type === 'AllContainersRestarting')).toBe(false)
  await rm(join(folder, 'manifests/together.json'))
  await until(() => !podOf('together'))
})

it('hooks, probes and a restart after a failed probe', async () => {
  await put('probed', {
    containers: [
      shell('main', 'touch /tmp/alive; while [ -e /tmp/alive ]; do sleep 0.2; done; sleep 600', {
        lifecycle: { postStart: { exec: { command: ['/bin/touch', '/tmp/started'] } } },
        livenessProbe: {
          exec: { command: ['/bin/ls', '/tmp/alive'] },
          periodSeconds: 1,
          failureThreshold: 1,
          terminationGracePeriodSeconds: 1,
        },
        readinessProbe: { exec: { command: ['/bin/ls', '/tmp/started'] }, periodSeconds: 1 },
      }),
    ],
  })
  const pod = await readyOf('probed')
  const id = pod.status?.containerStatuses?.[0]?.containerID?.split('://')[1] ?? ''
  await f.runtime.runtimeService.execSync({ containerId: id, cmd: ['/bin/busybox', 'rm', '/tmp/alive'], timeout: 5n })
  const again = await until(
    () => podOf('probed')?.status?.containerStatuses?.[0]?.restartCount === 1 && podOf('probed'),
  )
  expect(again?.status?.containerStatuses?.[0]?.lastState?.terminated).toMatchObject({ exitCode: 137 })
})

it('a mount is read-only with all below it where that is possible, and its status says so', async () => {
  const { runtimeHandlers } = await f.runtime.runtimeService.status({ verbose: false })
  const features = runtimeHandlers.find(({ name }) => name === '')?.features
  const data = { name: 'data', mountPath: '/data', readOnly: true }
  await put('read-only', {
    volumes: [{ name: 'data', emptyDir: {} }],
    containers: [
      shell('main', 'touch /data/file || sleep 600', { volumeMounts: [{ ...data, recursiveReadOnly: 'IfPossible' }] }),
    ],
  })
  const pod = await readyOf('read-only')
  const recursiveReadOnly = features?.recursiveReadOnlyMounts ? 'Enabled' : 'Disabled'
  expect(pod.status?.containerStatuses?.[0]).toMatchObject({ volumeMounts: [{ ...data, recursiveReadOnly }] })
  await rm(join(folder, 'manifests/read-only.json'))
  await until(() => !podOf('read-only'))
})

it('a run to the end: exit code, termination message, phase', async () => {
  await put('job', {
    restartPolicy: 'Never',
    containers: [shell('main', 'echo the last words > /dev/termination-log; exit 3')],
  })
  const pod = await until(() => podOf('job')?.status?.phase === 'Failed' && podOf('job'))
  expect(pod?.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({
    exitCode: 3,
    reason: 'Error',
    message: 'the last words\n',
  })
})

it('a new kubelet adopts what runs', async () => {
  const before = (await readyOf('web')).status?.containerStatuses?.[0]
  await kubelet.close()
  kubelet = await open()
  const after = (await readyOf('web')).status?.containerStatuses?.[0]
  expect([after?.containerID, after?.restartCount, after?.state]).toEqual([before?.containerID, 0, before?.state])
})

it('a removed manifest leaves nothing', async () => {
  const pod = await readyOf('web')
  await rm(join(folder, 'manifests', 'web.json'))
  await until(() => !podOf('web'))
  expect(await readdir(join(folder, 'root/pods'))).not.toContain(pod.metadata?.uid)
  const cgroups = await openCgroups()
  expect(await cgroups.exists(`${cgroupRoot}/kubepods/burstable/pod${pod.metadata?.uid}`)).toBe(false)
  expect(f.problems).toEqual([])
})
