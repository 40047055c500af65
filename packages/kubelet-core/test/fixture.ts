// A kubelet on a runtime that keeps states and runs nothing: for the order of things.
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMemoryRuntime, type MemoryRuntime } from '@nodelet/cri-api/testing'
import type { RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach } from 'vitest'
import { createKubelet } from '../src/kubelet.ts'
import { until } from './until.ts'
import type { Kubelet, KubeletOptions } from '../src/config.ts'
import type { CgroupDriver } from '../src/resource/cgroup-driver.ts'

/** The runtime in memory has no network: its pods get an address here. */
export function withAddresses({ runtimeService }: MemoryRuntime): RuntimeService {
  return {
    ...runtimeService,
    async podSandboxStatus(request) {
      const answer = await runtimeService.podSandboxStatus(request)
      if (answer.status) answer.status.network = { ip: '10.1.2.3', additionalIps: [] }
      return answer
    },
  }
}

const cgroups: CgroupDriver = {
  version: 1,
  start: async () => {},
  create: async (pod) => `/kubepods/pod${pod.metadata?.uid}`,
  remove: async () => {},
  list: async () => [],
}

export let folder: string
export let memory: MemoryRuntime
let kubelets: Kubelet[] = []

/** One that has not started yet. */
export async function make({ configuration, ...more }: Partial<KubeletOptions> = {}): Promise<Kubelet> {
  const kubelet = await createKubelet({
    nodeName: 'Node-1'.toLowerCase(),
    nodeIPs: ['192.0.2.1'],
    runtimeService: withAddresses(memory),
    imageService: memory.imageService,
    rootDir: join(folder, 'root'),
    configuration: {
      podLogsDir: join(folder, 'logs'),
      staticPodPath: join(folder, 'manifests'),
      clusterDNS: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      ...configuration,
    },
    cgroups,
    ...(process.env['NODELET_LOG'] && { log: console as never }),
    ...more,
  })
  kubelets.push(kubelet)
  return kubelet
}

export async function open(options: Partial<KubeletOptions> = {}): Promise<Kubelet> {
  const kubelet = await make(options)
  await kubelet.start()
  return kubelet
}

export async function put(name: string, spec: object): Promise<void> {
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { terminationGracePeriodSeconds: 1, ...spec } }
  const path = join(folder, 'manifests', `.${name}`)
  await writeFile(path, JSON.stringify(pod))
  await rename(path, join(folder, 'manifests', `${name}.json`))
}

export const podOf = (kubelet: Kubelet, name: string): Pod | undefined =>
  kubelet.pods().find(({ metadata }) => metadata?.name === `${name}-node-1`)
export const runningOf = async (kubelet: Kubelet, name: string): Promise<Pod> =>
  until(() => {
    const pod = podOf(kubelet, name)
    return pod?.status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True' && pod
  })
export const idOf = (pod: Pod, name: string): string => {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {}
  const status = [...containerStatuses, ...initContainerStatuses].find((one) => one.name === name)
  return status?.containerID?.replace('memory://', '') ?? ''
}

/** Each test of the file has a folder and a runtime of its own. */
export function useFixture(): void {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kubelet-'))
    memory = createMemoryRuntime()
  })
  afterEach(async () => {
    for (const kubelet of kubelets.splice(0)) await kubelet.close()
    await rm(folder, { recursive: true, force: true })
  })
}
