// Statistics, metrics and events.
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { isUnimplemented } from '../errors.ts'
import {
  ContainerEventType,
  type ContainerStats,
  ListContainerStatsRequest,
  ListPodSandboxStatsRequest,
} from '../gen/runtime.ts'
import { type Checks, eventually, SuiteSkip, type ValidationRuntime } from './suite-checks.ts'
import { openPod } from './suite-pod.ts'

/** What a kubelet falls back from is skipped, by the runtime's own word. */
export async function offered<T>(name: string, call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    if (isUnimplemented(error)) throw new SuiteSkip(`${name} is not implemented`)
    throw error
  }
}

async function stats({ runtimeService }: ValidationRuntime, filter?: object): Promise<ContainerStats[]> {
  const request = ListContainerStatsRequest.fromPartial(filter ? { filter } : {})
  return (await runtimeService.listContainerStats(request)).stats
}
const idsOf = (all: ContainerStats[]): string[] => all.map(({ attributes }) => attributes?.id ?? '')

export const statsChecks: Checks = {
  async 'of a container: whose they are, and cpu and memory with their time'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.run({ metadata: { name: 'measured' }, labels: { a: 'b' } })
    const { attributes, cpu, memory, writableLayer } =
      (await runtime.runtimeService.containerStats({ containerId: id })).stats ?? {}
    deepStrictEqual([attributes?.id, attributes?.metadata?.name, attributes?.labels], [id, 'measured', { a: 'b' }])
    ok(cpu && cpu.timestamp > 0n && (cpu.usageCoreNanoSeconds?.value ?? 0n) > 0n)
    ok(memory && memory.timestamp > 0n && (memory.workingSetBytes?.value ?? 0n) > 0n)
    ok(writableLayer)
    await eventually('the layer is measured', async () => {
      await pod.output(id, 'sh', '-c', 'head -c 300000 /dev/zero >/file')
      const now = (await stats(runtime, { id }))[0]?.writableLayer
      return now?.fsId?.mountpoint !== undefined
    })
  },
  async 'lists: all, by ID, sandbox and label'(runtime) {
    await using pod = await openPod(runtime)
    const labels = { pod: pod.id }
    const ids = [await pod.run({ labels }), await pod.run({ labels }), await pod.run()]
    const [first = '', second = ''] = ids
    const all = idsOf(await stats(runtime))
    for (const id of ids) ok(all.includes(id))
    deepStrictEqual(idsOf(await stats(runtime, { id: first })), [first])
    deepStrictEqual(idsOf(await stats(runtime, { podSandboxId: pod.id })).toSorted(), ids.toSorted())
    deepStrictEqual(idsOf(await stats(runtime, { labelSelector: labels })).toSorted(), [first, second].toSorted())
    deepStrictEqual(await stats(runtime, { labelSelector: { pod: 'other' } }), [])
  },
  async 'of a pod: with its network and its containers'(runtime) {
    await using pod = await openPod(runtime, { labels: { measured: 'pod' } })
    const containerId = await pod.run()
    const answer = await offered('PodSandboxStats', runtime.runtimeService.podSandboxStats({ podSandboxId: pod.id }))
    const { attributes, linux } = answer.stats ?? {}
    strictEqual(attributes?.id, pod.id)
    strictEqual(linux?.network?.defaultInterface?.name, 'eth0')
    ok((linux.cpu?.timestamp ?? 0n) > 0n && (linux.memory?.timestamp ?? 0n) > 0n)
    deepStrictEqual(idsOf(linux.containers), [containerId])
    for (const filter of [{ id: pod.id }, { labelSelector: { measured: 'pod' } }]) {
      const list = await runtime.runtimeService.listPodSandboxStats(ListPodSandboxStatsRequest.fromPartial({ filter }))
      deepStrictEqual(
        list.stats.map((one) => one.attributes?.id),
        [pod.id],
      )
    }
  },
  async 'metrics: each described, and those of a pod with the labels that are'(runtime) {
    const { runtimeService } = runtime
    const { descriptors } = await offered('ListMetricDescriptors', runtimeService.listMetricDescriptors({}))
    for (const { name, help, labelKeys } of descriptors) ok(help && labelKeys.length > 0, name)
    const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys.length]))
    for (const name of required) ok(keys.has(name), `${name} is not described`)
    await using pod = await openPod(runtime)
    const bytes = 64n << 20n
    const memory = { memoryLimitInBytes: bytes, memorySwapLimitInBytes: bytes }
    const resources = { cpuPeriod: 100_000n, cpuQuota: 20_000n, cpuShares: 1024n, ...memory }
    const id = await pod.run({ linux: { resources } })
    await pod.output(id, 'sh', '-c', 'for i in 1 2 3; do echo hi >/tmp/$i; done; sync')
    const { podMetrics } = await runtimeService.listPodSandboxMetrics({})
    const mine = podMetrics.find(({ podSandboxId }) => podSandboxId === pod.id)
    ok(mine)
    const metrics = [...mine.metrics, ...mine.containerMetrics.flatMap((one) => one.metrics)]
    for (const metric of metrics) strictEqual(metric.labelValues.length, keys.get(metric.name), metric.name)
    deepStrictEqual(
      mine.containerMetrics.map(({ containerId }) => containerId),
      [id],
    )
    const names = new Set(metrics.map(({ name }) => name))
    deepStrictEqual(
      [...keys.keys()].filter((name) => !names.has(name) && !mayLackValues.test(name)),
      [],
    )
  },
  async 'events tell of a container from its creation to its removal'(runtime) {
    const { runtimeService } = runtime
    const ending = new AbortController()
    const seen: ContainerEventType[] = []
    await using pod = await openPod(runtime)
    const mine = new Set<string>()
    const queue: [string, ContainerEventType][] = []
    const reading = (async () => {
      for await (const event of runtimeService.getContainerEvents({}, { signal: ending.signal })) {
        queue.push([event.containerId, event.containerEventType])
      }
    })()
    const outcome = offered('GetContainerEvents', reading).then(
      () => undefined,
      (error: unknown) => error,
    )
    try {
      const early = await Promise.race([outcome, new Promise((resolve) => setTimeout(resolve, 200))])
      if (early !== undefined) throw early as Error
      const containerId = await pod.run()
      mine.add(containerId)
      await runtimeService.stopContainer({ containerId, timeout: 0n })
      await runtimeService.removeContainer({ containerId })
      await eventually('four events', async () => queue.filter(([id]) => mine.has(id)).length === 4)
      seen.push(...queue.filter(([id]) => mine.has(id)).map(([, type]) => type))
    } finally {
      ending.abort()
      await outcome
    }
    const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT } = ContainerEventType
    const { CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } = ContainerEventType
    deepStrictEqual(seen, [
      CONTAINER_CREATED_EVENT,
      CONTAINER_STARTED_EVENT,
      CONTAINER_STOPPED_EVENT,
      CONTAINER_DELETED_EVENT,
    ])
  },
}

/** What depends on the disk, on huge pages and on pressure accounting, or on limits that a test does not set. */
const mayLackValues =
  /^container_(blkio_device_usage_total|fs_(reads|writes)_(bytes_)?total|hugetlb_|pressure_|spec_memory_reservation_limit)/

const processes = ['last_seen', 'start_time_seconds', 'processes', 'threads', 'oom_events_total', 'file_descriptors']
const memory = ['usage_bytes', 'working_set_bytes', 'rss', 'cache', 'failures_total', 'kernel_usage', 'mapped_file']
const network = ['receive', 'transmit'].flatMap((way) =>
  ['bytes', 'errors', 'packets', 'packets_dropped'].map((what) => `container_network_${way}_${what}_total`),
)
const files = ['inodes_free', 'inodes_total', 'limit_bytes', 'usage_bytes', 'reads_bytes_total', 'reads_total']
/** Those that a kubelet's own collector has as well. */
const required = [
  ...processes.map((name) => `container_${name}`),
  ...['usage', 'user', 'system'].map((name) => `container_cpu_${name}_seconds_total`),
  ...network,
  ...[...files, 'writes_bytes_total', 'writes_total'].map((name) => `container_fs_${name}`),
  ...[...memory, 'max_usage_bytes', 'swap', 'failcnt'].map((name) => `container_memory_${name}`),
  ...['periods', 'throttled_periods', 'throttled_seconds'].map((name) => `container_cpu_cfs_${name}_total`),
  ...['cpu_period', 'cpu_quota', 'cpu_shares', 'memory_limit_bytes'].map((name) => `container_spec_${name}`),
  ...['memory_reservation_limit_bytes', 'memory_swap_limit_bytes'].map((name) => `container_spec_${name}`),
  ...['blkio_device_usage_total', 'sockets', 'threads_max', 'ulimits_soft'].map((name) => `container_${name}`),
  ...['hugetlb_usage_bytes', 'hugetlb_max_usage_bytes'].map((name) => `container_${name}`),
  ...['cpu', 'io', 'memory'].flatMap((kind) =>
    ['stalled', 'waiting'].map((what) => `container_pressure_${kind}_${what}_seconds_total`),
  ),
]
