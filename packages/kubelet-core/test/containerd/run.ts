// A kubelet over the socket of a containerd of its own, in namespaces of its own: says each outcome as a line of JSON.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openCgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { runAlone } from '../../../../bench/alone.ts'
import { pauseImage } from '../../../../bench/runtime/images.ts'
import { startContainerd } from '../../../../bench/runtime/peers.ts'
import { makeImage, startRegistry } from '../../../runtime-runc/test/registry.ts'
import { busyboxFiles } from '../../../runtime-runc/test/runtime-fixture.ts'
import type { Kubelet } from '../../src/config.ts'
import { createKubelet } from '../../src/kubelet.ts'

runAlone()

const folder = mkdtempSync(join(tmpdir(), 'kc-'))
const cgroupRoot = `/nodelet-containerd-${folder.slice(folder.lastIndexOf('-') + 1)}`
const undo = new AsyncDisposableStack()
undo.defer(() => rmSync(folder, { recursive: true, force: true }))
undo.defer(async () => (await openCgroups()).remove(cgroupRoot))

const say = (line: object): boolean => process.stdout.write(`${JSON.stringify(line)}\n`)
const failures: unknown[] = []
async function check(name: string, run: () => Promise<void>): Promise<void> {
  const since = performance.now()
  const failure = await run().then(
    () => undefined,
    (error: unknown) => error,
  )
  if (failure) failures.push(failure)
  const reason = failure instanceof Error ? (failure.stack ?? failure.message) : String(failure ?? '')
  say({ name, outcome: failure ? 'failed' : 'passed', reason, ms: Math.round(performance.now() - since) })
}
async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  seconds = 30,
): Promise<Exclude<T, false | undefined>> {
  for (const deadline = Date.now() + seconds * 1000; ;) {
    const found = await look()
    if (found) return found as Exclude<T, false | undefined>
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
function equal(found: unknown, wanted: unknown): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`found ${a}, wanted ${b}`)
}

try {
  const registry = undo.use(await startRegistry())
  await registry.push('pause:1', await pauseImage())
  await registry.push('busybox:1', await makeImage([busyboxFiles()]))
  const place = {
    folder: join(folder, 'runtime'),
    run: `/run/${folder.slice(folder.lastIndexOf('/') + 1)}`,
    subnet: 94,
  }
  mkdirSync(place.folder)
  mkdirSync(join(folder, 'manifests'))
  undo.defer(() => rmSync(place.run, { recursive: true, force: true }))
  const peer = undo.use(await startContainerd(place, `${registry.host}/pause:1`))
  const { runtimeService } = peer.client

  const open = async (): Promise<Kubelet> => {
    const made = await createKubelet({
      nodeName: 'node-1',
      nodeIPs: ['192.0.2.1'],
      ...peer.client,
      rootDir: join(folder, 'root'),
      configuration: {
        podLogsDir: join(folder, 'logs'),
        staticPodPath: join(folder, 'manifests'),
        clusterDNS: ['10.96.0.10'],
        clusterDomain: 'cluster.local',
        cgroupRoot,
        containerLogMaxSize: '16Ki',
        containerLogMonitorInterval: '3s',
        evictionHard: {},
      },
      ...(process.env['NODELET_LOG'] && { log: console as never }),
    })
    await made.start()
    return made
  }
  let kubelet = await open()
  undo.defer(async () => kubelet.removeAllPods())

  const put = async (name: string, spec: object): Promise<void> => {
    const full = { terminationGracePeriodSeconds: 2, ...spec }
    const path = join(folder, 'manifests', `.${name}`)
    await writeFile(path, JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: full }))
    await rename(path, join(folder, 'manifests', `${name}.json`))
  }
  const podOf = (name: string): Pod | undefined =>
    kubelet.pods().find(({ metadata }) => metadata?.name === `${name}-node-1`)
  const readyOf = async (name: string): Promise<Pod> =>
    until(`${name} to be ready, now ${JSON.stringify(podOf(name)?.status)}`, () => {
      const pod = podOf(name)
      return pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && pod
    })
  const logs = ({ metadata }: Pod): string =>
    join(folder, 'logs', `${metadata?.namespace}_${metadata?.name}_${metadata?.uid}`)
  const shell = (script: string, more: object = {}): object => ({
    name: 'main',
    image: `${registry.host}/busybox:1`,
    command: ['/bin/sh', '-c', script],
    ...more,
  })
  const stay = 'trap exit TERM; sleep 600 & wait'

  await check('a pod runs, with environment, hosts file, volume, cgroup and log', async () => {
    await put('web', {
      containers: [
        shell(`echo $GREETING; cat /etc/hosts; echo x > /data/x; ${stay}`, {
          env: [{ name: 'GREETING', value: 'hello' }],
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
          resources: { requests: { cpu: '100m' }, limits: { memory: '64Mi' } },
        }),
      ],
      volumes: [{ name: 'data', emptyDir: {} }],
    })
    const pod = await readyOf('web')
    if (!pod.status?.podIP) throw new Error('it has no address')
    await until('its log', () => readFileSync(join(logs(pod), 'main/0.log'), 'utf8').includes(pod.status?.podIP ?? '-'))
    const link = `${pod.metadata?.name}_default_main-${pod.status.containerStatuses?.[0]?.containerID?.split('://')[1]}.log`
    equal(await realpath(join(folder, 'containers', link)), join(logs(pod), 'main/0.log'))
    const cgroups = await openCgroups()
    equal(await cgroups.exists(`${cgroupRoot}/kubepods/burstable/pod${pod.metadata?.uid}`), true)
  })
  await check('init containers come first, a sidecar stays, a run to the end succeeds', async () => {
    await put('steps', {
      restartPolicy: 'Never',
      initContainers: [
        shell('echo init >> /data/steps', { name: 'init', volumeMounts: [{ name: 'data', mountPath: '/data' }] }),
        shell(stay, { name: 'side', restartPolicy: 'Always' }),
      ],
      containers: [
        shell('cat /data/steps; echo done > /dev/termination-log', {
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        }),
      ],
      volumes: [{ name: 'data', emptyDir: {} }],
    })
    const pod = await until('its end', () => podOf('steps')?.status?.phase === 'Succeeded' && podOf('steps'))
    equal(pod.status?.containerStatuses?.[0]?.state?.terminated?.message, 'done\n')
  })
  await check('a failed liveness probe restarts, a crash waits longer and longer', async () => {
    const livenessProbe = {
      exec: { command: ['/bin/sh', '-c', 'test ! -e /tmp/ill'] },
      periodSeconds: 1,
      failureThreshold: 1,
    }
    await put('ill', { containers: [shell(`mkdir -p /tmp; sleep 1; touch /tmp/ill; ${stay}`, { livenessProbe })] })
    await put('crash', { containers: [shell('exit 3')] })
    const status = (name: string) => podOf(name)?.status?.containerStatuses?.[0]
    await until('a restart', () => (status('ill')?.restartCount ?? 0) > 0)
    await until('its back-off', () => status('crash')?.state?.waiting?.reason === 'CrashLoopBackOff')
    equal(status('crash')?.lastState?.terminated?.exitCode, 3)
  })
  await check('a log is rotated while it is written', async () => {
    const line = 'x'.repeat(99)
    await put('chatty', { containers: [shell(`while true; do echo ${line}; sleep 0.005; done`)] })
    const pod = await readyOf('chatty')
    await until('a packed log', async () =>
      (await readdir(join(logs(pod), 'main'))).some((name) => name.endsWith('.gz')),
    )
    // Once it is renamed, there is none until the runtime opens it anew.
    const written = async (): Promise<string> => readFile(join(logs(pod), 'main/0.log'), 'utf8').catch(() => '')
    await until('new lines', async () => (await written()).includes(line))
  })
  await check('a new kubelet adopts what runs', async () => {
    const before = podOf('web')?.status?.containerStatuses?.[0]
    await kubelet.close()
    kubelet = await open()
    const pod = await readyOf('web')
    const { containerID, restartCount } = pod.status?.containerStatuses?.[0] ?? {}
    equal([containerID, restartCount], [before?.containerID, before?.restartCount])
  })
  await check('what was removed leaves nothing', async () => {
    for (const name of ['web', 'steps', 'ill', 'crash', 'chatty']) await rm(join(folder, 'manifests', `${name}.json`))
    await until('all to be gone', () => kubelet.pods().length === 0)
    const left = async () => [
      (await runtimeService.listPodSandbox({})).items.length,
      (await runtimeService.listContainers({})).containers.length,
      (await readdir(join(folder, 'root/pods'))).length,
      (await readdir(join(folder, 'logs'))).length,
    ]
    await until('the runtime to be empty', async () => (await left()).every((count) => count === 0))
  })
} catch (error) {
  failures.push(error)
  say({ name: 'set-up', outcome: 'failed', reason: (error as Error).stack })
} finally {
  await undo.disposeAsync()
}
process.exit(failures.length > 0 ? 1 : 0)
