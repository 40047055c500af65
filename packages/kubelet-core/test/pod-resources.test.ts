// The pod resources API over its socket: what containers have of CPUs, memory and devices.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials, type ServiceError, status } from '@grpc/grpc-js'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { systemClock } from '../src/clock.ts'
import { openCpuManager } from '../src/cpu/manager.ts'
import { cpuOptions } from '../src/cpu/options.ts'
import { openDeviceManager } from '../src/device/manager.ts'
import { serveDevicePlugin } from '../src/device/plugin.ts'
import { writeClaims } from '../src/dra/checkpoint.ts'
import { openClaimManager } from '../src/dra/manager.ts'
import type { ClaimInfo } from '../src/dra/state.ts'
import {
  type AllocatableResourcesResponse,
  type GetPodResourcesResponse,
  type ListPodResourcesResponse,
  PodResourcesListerClient,
} from '../src/gen/podresources.ts'
import { silentLogger } from '../src/log.ts'
import { openMemoryManager } from '../src/memory/manager.ts'
import { createKubeletMetrics } from '../src/metrics/kubelet-metrics.ts'
import { servePodResources } from '../src/pod-resources/server.ts'
import { createTopologyManager } from '../src/topology/manager.ts'

let rootDir: string
let opened: AsyncDisposableStack
beforeEach(async () => {
  rootDir = await mkdtemp(join(tmpdir(), 'pr-'))
  await mkdir(join(rootDir, 'device-plugins'))
  opened = new AsyncDisposableStack()
})
afterEach(async () => {
  await opened.disposeAsync()
  await rm(rootDir, { recursive: true, force: true })
})

const gpu = 'example.com/gpu'
const limits = { cpu: '2', memory: '64Mi', [gpu]: '1' }
const pods: Pod[] = [
  {
    metadata: { name: 'own', namespace: 'here', uid: 'u1' },
    spec: {
      initContainers: [
        { name: 'init', resources: { limits } },
        { name: 'side', restartPolicy: 'Always', resources: { limits: { cpu: '500m', memory: '1Mi' } } },
      ],
      containers: [{ name: 'main', resources: { limits, claims: [{ name: 'time' }] } }],
      resourceClaims: [{ name: 'time', resourceClaimName: 'x' } as never],
    },
  },
  { metadata: { name: 'shared', namespace: 'here', uid: 'u2' }, spec: { containers: [{ name: 'main' }] } },
]

const claim: ClaimInfo = {
  uid: 'c1',
  name: 'x',
  namespace: 'here',
  podUids: new Set(['u1']),
  drivers: new Map([
    [
      'clock.example.com',
      [{ pool: 'node-1', device: 'east', shareId: 'half', requests: [], cdiIds: ['example.com/clock=east'] }],
    ],
  ]),
  prepared: true,
}

async function serve() {
  const nodes = [{ id: 0, distances: new Map<number, number>(), memory: { memory: 1n << 30n } }]
  const settings = { cpuManagerPolicyOptions: {}, featureGates: {}, topologyManagerPolicy: 'none' } as const
  const cpus = await openCpuManager({
    rootDir,
    cpus: [0, 1, 2, 3].map((id) => ({ id, core: `${id}`, cache: '0', socket: 0, node: 0 })),
    policy: 'static',
    options: cpuOptions(settings),
    reservedCpus: '0',
    reservedMilliCpu: 0n,
    poolChanged: () => undefined,
  })
  const memory = await openMemoryManager({ rootDir, policy: 'Static', nodes, reserved: new Map() })
  const shared = { changed: () => undefined, clock: systemClock, log: silentLogger }
  const devices = opened.use(await openDeviceManager({ rootDir, nodes, ...shared }))
  await devices.start()
  opened.use(
    await serveDevicePlugin({
      resourceName: gpu,
      folder: join(rootDir, 'device-plugins'),
      devices: [
        { id: 'a', healthy: true, nodes: [0] },
        { id: 'b', healthy: true, nodes: [] },
        { id: 'c', healthy: false, nodes: [] },
      ],
      allocate: () => ({}),
    }),
  )
  await expect.poll(() => devices.resources().get(gpu)?.capacity).toBe(3)
  const givers = [devices, cpus, memory]
  const giver = createTopologyManager({ policy: 'none', nodes, preferClosest: false, scope: 'container', givers })
  for (const pod of pods) expect(await giver.admit(pod, new AbortController().signal)).toBeUndefined()
  const metrics = createKubeletMetrics()
  await writeClaims(join(rootDir, 'dra_manager_state'), [claim])
  const claims = await openClaimManager({
    path: join(rootDir, 'dra_manager_state'),
    read: async () => expect.fail('nothing is to be prepared'),
    drivers: { get: () => expect.fail('nothing is to be prepared'), health: () => 'Unknown' },
    log: silentLogger,
  })
  const shares = { cpus, memory, devices, claims }
  opened.use(await servePodResources({ rootDir, pods: () => pods, ...shares, metrics, clock: systemClock }))
  const client = new PodResourcesListerClient(
    `unix://${join(rootDir, 'pod-resources/kubelet.sock')}`,
    credentials.createInsecure(),
  )
  opened.defer(() => client.close())
  return { client, metrics }
}
const answerOf = async <T>(call: (reply: (error: ServiceError | null, answer: T) => void) => unknown): Promise<T> =>
  new Promise((resolve, reject) => call((error, answer) => (error ? reject(error) : resolve(answer))))

const main = {
  name: 'main',
  devices: [{ resourceName: gpu, deviceIds: ['a'], topology: { nodes: [{ ID: 0n }] } }],
  cpuIds: [1n, 2n],
  memory: [{ memoryType: 'memory', size: 64n << 20n, topology: { nodes: [{ ID: 0n }] } }],
  dynamicResources: [
    {
      claimName: 'x',
      claimNamespace: 'here',
      claimResources: [
        {
          cdiDevices: [{ name: 'example.com/clock=east' }],
          driverName: 'clock.example.com',
          poolName: 'node-1',
          deviceName: 'east',
          shareId: 'half',
        },
      ],
    },
  ],
}

it('List, Get and GetAllocatableResources tell of what was given, and of all that may be', async () => {
  const { client, metrics } = await serve()
  const { podResources } = await answerOf<ListPodResourcesResponse>((reply) => client.list({}, reply))
  expect(podResources).toEqual([
    {
      name: 'own',
      namespace: 'here',
      containers: [
        {
          name: 'side',
          devices: [],
          cpuIds: [],
          memory: [{ ...main.memory[0], size: 1n << 20n }],
          dynamicResources: [],
        },
        main,
      ],
    },
    {
      name: 'shared',
      namespace: 'here',
      containers: [{ name: 'main', devices: [], cpuIds: [], memory: [], dynamicResources: [] }],
    },
  ])
  const one = await answerOf<GetPodResourcesResponse>((reply) =>
    client.get({ podName: 'own', podNamespace: 'here' }, reply),
  )
  expect(one.podResources).toEqual(podResources[0])
  const all = await answerOf<AllocatableResourcesResponse>((reply) => client.getAllocatableResources({}, reply))
  expect(all.cpuIds).toEqual([1n, 2n, 3n])
  expect(all.memory).toMatchObject([{ memoryType: 'memory', size: 1n << 30n }])
  expect(all.devices).toEqual([
    { resourceName: gpu, deviceIds: ['a'], topology: { nodes: [{ ID: 0n }] } },
    { resourceName: gpu, deviceIds: ['b'], topology: undefined },
  ])
  await expect(answerOf((reply) => client.get({ podName: 'no', podNamespace: 'here' }, reply))).rejects.toMatchObject({
    code: status.UNKNOWN,
    details: 'pod no in namespace here not found',
  })
  const text = await metrics.registry.metrics()
  expect(text).toContain('kubelet_pod_resources_endpoint_requests_total{server_api_version="v1"} 4')
  expect(text).toContain('kubelet_pod_resources_endpoint_errors_get{server_api_version="v1"} 1')
})

it('who asks too often is turned away', async () => {
  const { client } = await serve()
  const asked = Array.from({ length: 30 }, async () => answerOf((reply) => client.list({}, reply)))
  const refused = (await Promise.allSettled(asked)).filter(({ status: how }) => how === 'rejected')
  expect(refused.length).toBeGreaterThan(0)
  expect(refused[0]).toMatchObject({ reason: { code: status.RESOURCE_EXHAUSTED, details: 'rejected by rate limit' } })
})
