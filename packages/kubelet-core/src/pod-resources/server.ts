// `pod-resources/kubelet.sock`: where monitors ask which container has which CPUs, memory and devices.
import { join } from 'node:path'
import { type sendUnaryData, Server, type ServiceError, status } from '@grpc/grpc-js'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import {
  AllocatableResourcesResponse,
  GetPodResourcesResponse,
  ListPodResourcesResponse,
  type PodResourcesListerServer,
  PodResourcesListerService,
} from '../gen/podresources.ts'
import { listenOn } from '@nodelet/csi-node/registration'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import { createTokenBucket } from '../token-bucket.ts'
import { deviceEntries, memoryEntry, podResources, type ResourceFacts } from './answers.ts'

export interface PodResourcesOptions extends ResourceFacts {
  rootDir: string
  /** Pods that run or are to run. */
  pods(): readonly Pod[]
  metrics: Pick<KubeletMetrics, 'podResources' | 'podResourcesErrors'>
  clock: Pick<Clock, 'now'>
}

/** 100 calls a second, 10 at once. */
const [burst, refillMs] = [10, 10]

export async function servePodResources(options: PodResourcesOptions): Promise<AsyncDisposable> {
  const { rootDir, pods, metrics, clock, cpus, memory, devices } = options
  const mayPass = createTokenBucket(burst, refillMs, clock)
  const labels = { server_api_version: 'v1' }

  const answer = <Response>(
    call: keyof KubeletMetrics['podResources'],
    reply: sendUnaryData<Response>,
    make: () => Response | Pick<ServiceError, 'code' | 'details'>,
  ): void => {
    if (!mayPass()) return reply({ code: status.RESOURCE_EXHAUSTED, details: 'rejected by rate limit' })
    metrics.podResources.total.inc(labels)
    metrics.podResources[call].inc(labels)
    const made = make()
    if (isError(made)) {
      if (call !== 'total') metrics.podResourcesErrors[call].inc(labels)
      return reply(made)
    }
    reply(null, made)
  }

  const service: PodResourcesListerServer = {
    list: (_call, reply) =>
      answer('list', reply, () =>
        ListPodResourcesResponse.fromPartial({ podResources: pods().map((pod) => podResources(pod, options)) }),
      ),
    getAllocatableResources: (_call, reply) =>
      answer('allocatable', reply, () =>
        AllocatableResourcesResponse.fromPartial({
          devices: devices.allocatable().flatMap(deviceEntries),
          cpuIds: cpus.allocatable().map(BigInt),
          memory: memory.allocatable().map(memoryEntry),
        }),
      ),
    get: ({ request: { podName, podNamespace } }, reply) =>
      answer('get', reply, () => {
        const found = pods().find(({ metadata }) => metadata?.name === podName && metadata.namespace === podNamespace)
        if (found) return GetPodResourcesResponse.fromPartial({ podResources: podResources(found, options) })
        return { code: status.UNKNOWN, details: `pod ${podName} in namespace ${podNamespace} not found` }
      }),
  }
  const server = new Server()
  server.addService(PodResourcesListerService, service)
  return listenOn(server, join(rootDir, 'pod-resources/kubelet.sock'))
}

const isError = <Response>(
  made: Response | Pick<ServiceError, 'code' | 'details'>,
): made is Pick<ServiceError, 'code' | 'details'> => typeof made === 'object' && made !== null && 'details' in made
