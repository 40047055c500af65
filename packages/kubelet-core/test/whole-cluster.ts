// A cluster of one machine with everything real: API server, scheduler, controllers, kubelet, runtime, processes.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createKubeClient, type KubeClient, loadKubeconfig, pods } from '@nodelet/kube-client'
import { openCgroups } from '@nodelet/linux'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { startCluster } from '../../local-cluster/src/index.ts'
import { makeRuntime, type RuntimeFixture } from '../../runtime-runc/test/runtime-fixture.ts'
import type { Kubelet, KubeletOptions } from '../src/config.ts'
import { createKubelet } from '../src/kubelet.ts'

export const namespace = 'default'

export interface WholeCluster extends AsyncDisposable {
  f: RuntimeFixture
  folder: string
  /** For everything. */
  admin: KubeClient
  kubelet: Kubelet
  /** Ends the kubelet and starts another one in its place. */
  restart(): Promise<void>
  shell(script: string, more?: object): Container
  create(name: string, spec: object, metadata?: object): Promise<Pod>
  read(name: string): Promise<Pod>
  /** Waits by a watch, from the object as it was created. */
  watched(created: Pod, done: (pod: Pod) => boolean): Promise<Pod>
}

/** A script that runs until it is told to end. */
export const stay = 'trap exit TERM; sleep 600 & wait'

export const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false

/** @param wrap what the kubelet uses as its client */
export async function startWholeCluster(
  { configuration, ...more }: Partial<KubeletOptions> = {},
  wrap: (client: KubeClient) => KubeClient = (client) => client,
  runtime: Parameters<typeof makeRuntime>[0] = {},
): Promise<WholeCluster> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'nc-'))
  undo.defer(async () => rm(folder, { recursive: true, force: true }))
  const f = undo.use(await makeRuntime(runtime))
  undo.defer(async () => (await openCgroups()).remove(`${f.cgroup}/kubepods`))
  const cluster = await startCluster({
    dataDir: join(folder, 'cluster'),
    port: 0,
    nodeName: 'node-1',
    nodeIPs: ['127.0.0.1'],
  })
  undo.defer(async () => cluster.close())
  const admin = undo.use(createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin)))
  const own = wrap(undo.use(createKubeClient(await loadKubeconfig(cluster.kubeconfigs.kubelet))))
  const open = async (): Promise<Kubelet> =>
    createKubelet({
      nodeName: 'node-1',
      nodeIPs: ['127.0.0.1'],
      client: own,
      runtimeService: f.runtime.runtimeService,
      imageService: f.runtime.imageService,
      rootDir: join(folder, 'root'),
      configuration: {
        podLogsDir: join(folder, 'logs'),
        staticPodPath: join(folder, 'manifests'),
        clusterDNS: ['10.96.0.10'],
        clusterDomain: 'cluster.local',
        cgroupRoot: f.cgroup,
        ...configuration,
      },
      server: { address: '127.0.0.1', port: 0, ...cluster.kubelet },
      ...(process.env['NODELET_LOG'] && { log: console as never }),
      ...more,
    })
  let kubelet = await open()
  undo.defer(async () => kubelet.removeAllPods())
  await kubelet.start()
  const done = undo.move()
  return {
    f,
    folder,
    admin,
    get kubelet() {
      return kubelet
    },
    async restart() {
      await kubelet.close()
      kubelet = await open()
      await kubelet.start()
    },
    shell: (script, rest = {}) => ({ name: 'main', image: f.image, command: ['/bin/sh', '-c', script], ...rest }),
    async create(name, spec, metadata = {}) {
      const full = { terminationGracePeriodSeconds: 2, ...spec } as NonNullable<Pod['spec']>
      const own = { name, namespace, ...metadata }
      return admin.create(pods, { apiVersion: 'v1', kind: 'Pod', metadata: own, spec: full })
    },
    read: async (name) => admin.get(pods, { name, namespace }),
    async watched(created, isDone) {
      const options = {
        namespace,
        fieldSelector: `metadata.name=${created.metadata?.name}`,
        resourceVersion: created.metadata?.resourceVersion,
        signal: AbortSignal.timeout(30_000),
      }
      for await (const { object } of admin.watch(pods, options)) if (isDone(object)) return object
      throw new Error('the watch ended')
    },
    [Symbol.asyncDispose]: async () => done.disposeAsync(),
  }
}
