// Pages of metrics from readings.
import { ListPodSandboxMetricsResponse, MetricType } from '@nodelet/cri-api'
import { createMemoryRuntime } from '@nodelet/cri-api/testing'
import { expect, it } from 'vitest'
import { cadvisorPage } from '../../src/metrics/cadvisor-page.ts'
import { createKubeletMetrics } from '../../src/metrics/kubelet-metrics.ts'
import { measured } from '../../src/metrics/measured-runtime.ts'
import { resourcePage } from '../../src/metrics/resource-page.ts'
import { metricsText } from '../../src/metrics/text.ts'
import { readMachine } from '../../src/node/facts.ts'
import type { Summary } from '../../src/stats/summary-types.ts'
import { parseMetrics } from './parser.ts'

const time = '2026-01-02T03:04:05Z'
const cpu = { time, usageCoreNanoSeconds: 2_500_000_000 }
const memory = { time, workingSetBytes: 1024, usageBytes: 2048, rssBytes: 512 }
const summary: Summary = {
  node: {
    nodeName: 'node-1',
    startTime: time,
    cpu,
    memory,
    systemContainers: [{ name: 'pods', startTime: time, cpu }],
  },
  pods: [
    {
      podRef: { name: 'web', namespace: 'shop', uid: 'u' },
      startTime: time,
      cpu,
      memory,
      network: { time, interfaces: [{ name: 'eth0', rxBytes: 7, txBytes: 8 }] },
      containers: [{ name: 'app', startTime: time, cpu, memory, rootfs: { time, usedBytes: 5, capacityBytes: 50 } }],
    },
  ],
}
const valuesOf = (text: string, name: string) => parseMetrics(text).get(name)?.samples

it('resource: what metrics-server reads, with the time of the measurement', () => {
  const page = resourcePage(summary)
  const timeMs = Date.parse(time)
  const pod = { namespace: 'shop', pod: 'web' }
  expect(valuesOf(page, 'container_cpu_usage_seconds_total')).toEqual([
    { labels: { container: 'app', ...pod }, value: 2.5, timeMs },
  ])
  expect(valuesOf(page, 'pod_memory_working_set_bytes')).toEqual([{ labels: pod, value: 1024, timeMs }])
  expect(valuesOf(page, 'node_cpu_usage_seconds_total')).toEqual([{ labels: {}, value: 2.5, timeMs }])
  expect(valuesOf(page, 'container_start_time_seconds')?.[0]?.value).toBe(timeMs / 1000)
  expect(valuesOf(page, 'resource_scrape_error')).toEqual([{ labels: {}, value: 0 }])
  expect(parseMetrics(resourcePage(undefined))).toEqual(
    new Map([['resource_scrape_error', { type: 'gauge', samples: [{ labels: {}, value: 1 }] }]]),
  )
})

it("cadvisor: the runtime's metrics as they are described, beside the node and the machine", async () => {
  const machine = await readMachine('/')
  const labelValues = ['web', 'shop', 'app', 'id1', 'img']
  const name = 'container_memory_working_set_bytes'
  const metric = { name, metricType: MetricType.GAUGE, labelValues, value: { value: 99n } }
  const { podMetrics: pods } = ListPodSandboxMetricsResponse.fromPartial({
    podMetrics: [{ podSandboxId: 's', metrics: [], containerMetrics: [{ containerId: 'id1', metrics: [metric] }] }],
  })
  const descriptors = [{ name, help: 'h', labelKeys: ['pod', 'namespace', 'container', 'id', 'image'] }]
  const page = cadvisorPage(machine, summary, { descriptors, pods })
  expect(valuesOf(page, name)).toEqual([
    expect.objectContaining({ labels: expect.objectContaining({ id: '/', pod: '' }) as unknown, value: 1024 }),
    { labels: { pod: 'web', namespace: 'shop', container: 'app', id: 'id1', image: 'img' }, value: 99 },
  ])
  expect(valuesOf(page, 'machine_cpu_cores')?.[0]?.value).toBe(machine.cpus)
})

it('cadvisor: from the statistics of a runtime that has no metrics', async () => {
  const page = cadvisorPage(await readMachine('/'), summary, undefined)
  const containers = valuesOf(page, 'container_cpu_usage_seconds_total')?.map(({ labels }) => [
    labels['id'],
    labels['pod'],
    labels['container'],
  ])
  expect(containers).toEqual([
    ['/', '', ''],
    ['/kubepods', '', ''],
    ['', 'web', ''],
    ['', 'web', 'app'],
  ])
  expect(valuesOf(page, 'container_network_receive_bytes_total')?.[0]).toMatchObject({
    labels: { interface: 'eth0', pod: 'web' },
    value: 7,
  })
})

it('texts that would break the form are escaped', () => {
  const nasty = 'a"b\\c\nd,e="f"}'
  const text = metricsText([
    { name: 'x', help: 'line\nback\\slash', type: 'gauge', samples: [{ labels: { one: nasty, two: '' }, value: 1n }] },
  ])
  expect(text.split('\n')).toHaveLength(4)
  expect(valuesOf(text, 'x')).toEqual([{ labels: { one: nasty, two: '' }, value: 1 }])
})

it('calls of the runtime are counted and timed, failures too, and pass through', async () => {
  const metrics = createKubeletMetrics()
  const { runtimeService } = createMemoryRuntime()
  const service = measured(runtimeService, metrics)
  await service.listContainers({})
  await expect(service.containerStatus({ containerId: 'none', verbose: false })).rejects.toThrow('none')
  const text = await metrics.registry.metrics()
  const of = (name: string, operation_type: string) =>
    valuesOf(text, name)?.find(({ labels }) => labels['operation_type'] === operation_type && !('le' in labels))?.value
  expect(of('kubelet_runtime_operations_total', 'list_containers')).toBe(1)
  expect(of('kubelet_runtime_operations_total', 'container_status')).toBe(1)
  expect(of('kubelet_runtime_operations_errors_total', 'container_status')).toBe(1)
  expect(of('kubelet_runtime_operations_errors_total', 'list_containers')).toBeUndefined()
})
