// CPUs and memory of one's own, on the CPUs and NUMA nodes of this machine.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { credentials } from '@grpc/grpc-js'
import { pods } from '@nodelet/kube-client'
import { expect, it } from 'vitest'
import { type GetPodResourcesResponse, PodResourcesListerClient } from '../src/gen/podresources.ts'
import { readNumaNodes } from '../src/topology/numa.ts'
import { isReady, namespace, startWholeCluster } from './whole-cluster.ts'

it.skipIf(availableParallelism() < 2)(
  'a guaranteed pod has a CPU for itself, which others leave while they run, and come back to',
  async () => {
    const configuration = { cpuManagerPolicy: 'static', kubeReserved: { cpu: '100m' }, evictionHard: {} } as const
    await using world = await startWholeCluster({ configuration })
    const { admin, create, shell, watched } = world
    const watching = 'trap exit TERM; while true; do grep Cpus_allowed_list /proc/1/status; sleep 0.1 & wait $!; done'
    const allowedOf = async (name: string): Promise<string | undefined> => {
      const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?tailLines=1`
      return /:\s*(\S+)/.exec(await (await admin.raw({ path })).body.text())?.[1]
    }
    const all = `0-${availableParallelism() - 1}`
    await watched(await create('shared', { containers: [shell(watching)] }), isReady)
    await expect.poll(async () => allowedOf('shared')).toBe(all)
    const limits = { cpu: '1', memory: '64Mi' }
    await watched(await create('own', { containers: [shell(watching, { resources: { limits } })] }), isReady)
    await expect.poll(async () => allowedOf('own')).toMatch(/^\d+$/)
    const own = await allowedOf('own')
    await expect.poll(async () => allowedOf('shared')).not.toBe(all)
    expect(await allowedOf('shared')).not.toBe(own)
    await admin.delete(pods, { name: 'own', namespace })
    await expect.poll(async () => allowedOf('shared')).toBe(all)
  },
)

it('a guaranteed pod has its share of one NUMA node; whoever asks is told, and what no node has is refused', async () => {
  await using world = await startWholeCluster({
    configuration: {
      memoryManagerPolicy: 'Static',
      topologyManagerPolicy: 'single-numa-node',
      kubeReserved: { memory: '100Mi' },
      reservedMemory: [{ numaNode: 0, limits: { memory: '100Mi' } }],
      evictionHard: {},
    },
  })
  const { admin, create, shell, watched, read, folder } = world
  const script = 'grep Mems_allowed_list /proc/1/status; trap exit TERM; sleep 600 & wait'
  const limits = { cpu: '100m', memory: '64Mi' }
  await watched(await create('own', { containers: [shell(script, { resources: { limits } })] }), isReady)
  const path = `/api/v1/namespaces/${namespace}/pods/own/log`
  await expect.poll(async () => (await admin.raw({ path })).body.text()).toMatch(/:\s*0\n$/)
  const client = new PodResourcesListerClient(
    `unix://${join(folder, 'root/pod-resources/kubelet.sock')}`,
    credentials.createInsecure(),
  )
  const request = { podName: 'own', podNamespace: namespace }
  const answer = await new Promise<GetPodResourcesResponse>((resolve, reject) =>
    client.get(request, (error, got) => (error ? reject(error) : resolve(got))),
  )
  client.close()
  expect(answer.podResources?.containers).toMatchObject([{ memory: [{ memoryType: 'memory', size: 64n << 20n }] }])

  // The scheduler does not know of the nodes: such a pod names its node.
  const [node] = await readNumaNodes()
  const tooMuch = { cpu: '100m', memory: String((node?.memory['memory'] ?? 0n) - (50n << 20n)) }
  await create('large', { nodeName: 'node-1', containers: [shell(script, { resources: { limits: tooMuch } })] })
  await expect
    .poll(async () => (await read('large')).status)
    .toMatchObject({
      phase: 'Failed',
      reason: 'TopologyAffinityError',
      message: 'Pod was rejected: Resources cannot be allocated with Topology locality',
    })
})
