import { createMemoryRuntime } from '@nodelet/cri-api/testing'
import type { Event, Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it, test } from 'vitest'
import { declaredFeatures } from '../src/node/declared-features.ts'
import { parseKubeletConfiguration } from '../src/configuration/kubelet-configuration.ts'
import { createEventRecorder } from '../src/events.ts'
import { readMachine } from '../src/node/facts.ts'
import { nodeEvents } from '../src/node/node-events.ts'
import { nodeConditions, nodeResources } from '../src/node/node-object.ts'
import { withPullRate } from '../src/pod/pull-rate.ts'
import { statusChanges } from '../src/node/status-changes.ts'
import { createRuntimeHealth } from '../src/node/runtime-health.ts'
import { systemClock } from '../src/clock.ts'
import { still } from './still.ts'
import { createMemoryApi } from './memory-api.ts'

describe('node', () => {
  it('tells what the machine has, less what eviction keeps', async () => {
    const machine = {
      ...(await readMachine('/')),
      cpus: 4,
      memoryBytes: 1024n ** 3n,
      ephemeralStorageBytes: 10_240n,
      hugepages: { '2Mi': 0n },
    }
    expect(nodeResources({ machine, configuration: parseKubeletConfiguration({}, 'test') })).toEqual({
      capacity: { cpu: '4', memory: '1048576Ki', 'ephemeral-storage': '10Ki', 'hugepages-2Mi': '0', pods: '110' },
      allocatable: { cpu: '4', memory: '946176Ki', 'ephemeral-storage': '9216', 'hugepages-2Mi': '0', pods: '110' },
    })
    const configuration = parseKubeletConfiguration(
      {
        kubeReserved: { cpu: '250m', memory: '100Mi' },
        systemReserved: { cpu: '250m', 'ephemeral-storage': '1Ki' },
        evictionHard: { 'memory.available': '10%', 'nodefs.available': '0%' },
        podsPerCore: 10,
      },
      'test',
    )
    expect(nodeResources({ machine, configuration }).allocatable).toEqual({
      cpu: '3500m',
      memory: `${Math.floor(((0.9 * 1024 - 100) * 1024 ** 2) / 1024)}Ki`,
      'ephemeral-storage': '9216',
      'hugepages-2Mi': '0',
      pods: '40',
    })
    expect([machine.bootId, machine.kernelVersion].every((text) => text.length > 0)).toBe(true)
  })

  it('is not ready with all problems in one message; times change with the status only', () => {
    const before = nodeConditions({ problems: [], pressure: [], previous: [], nowMs: 1000 })
    const after = nodeConditions({ problems: ['a', 'b'], pressure: [], previous: before, nowMs: 2000 })
    expect(after[3]).toMatchObject({ type: 'Ready', status: 'False', reason: 'KubeletNotReady', message: '[a, b]' })
    expect(after.map(({ lastTransitionTime }) => lastTransitionTime)).toEqual([
      '1970-01-01T00:00:01Z',
      '1970-01-01T00:00:01Z',
      '1970-01-01T00:00:01Z',
      '1970-01-01T00:00:02Z',
    ])
  })

  it('tells of what changed: conditions, a boot, whether it takes pods', () => {
    const of = (statuses: Record<string, string>, bootID: string, unschedulable = false): Node => ({
      metadata: { name: 'n' },
      spec: { unschedulable },
      status: {
        conditions: Object.entries(statuses).map(([type, status]) => ({ type, status })),
        nodeInfo: { bootID } as never,
      },
    })
    const fine = { MemoryPressure: 'False', DiskPressure: 'False', PIDPressure: 'False', Ready: 'True' }
    const reasons = (before: Node | undefined, after: Node) => nodeEvents(before, after).map(({ reason }) => reason)
    const first = of(fine, 'b1')
    expect(reasons(undefined, first)).toEqual([
      'NodeHasSufficientMemory',
      'NodeHasNoDiskPressure',
      'NodeHasSufficientPID',
      'NodeReady',
    ])
    expect(reasons(first, first)).toEqual([])
    expect(reasons(first, of({ ...fine, DiskPressure: 'True', Ready: 'False' }, 'b1'))).toEqual([
      'NodeHasDiskPressure',
      'NodeNotReady',
    ])
    expect(nodeEvents(first, of(fine, 'b2', true))).toEqual([
      { type: 'Warning', reason: 'Rebooted', message: 'Node n has been rebooted, boot id: b2' },
      { type: 'Normal', reason: 'NodeNotSchedulable', message: 'Node n status is now: NodeNotSchedulable' },
    ])
  })

  it('is told of only when more than heartbeats changed', () => {
    const conditions = nodeConditions({ problems: [], pressure: [], previous: [], nowMs: 1000 })
    const later = nodeConditions({ problems: [], pressure: [], previous: conditions, nowMs: 9000 })
    const status = { capacity: { cpu: '4', memory: '1Ki' }, conditions, images: [] }
    expect(
      statusChanges({ capacity: { memory: '1Ki', cpu: '4' }, conditions }, { ...status, conditions: later }),
    ).toBeUndefined()
    expect(statusChanges(status, { ...status, capacity: { cpu: '8' } })).toEqual({ capacity: { cpu: '8' }, conditions })
  })

  it("says the runtime's own words about its network", async () => {
    const network = { type: 'NetworkReady', status: false, reason: 'NoPlugin', message: 'no conflist' }
    const conditions = [{ type: 'RuntimeReady', status: true, reason: '', message: '' }, network]
    const health = createRuntimeHealth(
      { status: async () => ({ status: { conditions }, info: {}, runtimeHandlers: [] }) },
      systemClock,
    )
    expect(health.problems()).toEqual(['container runtime status check may not have completed yet'])
    await health.check()
    expect(health.problems()).toEqual([
      'container runtime network not ready: NetworkReady=false reason:NoPlugin message:no conflist',
    ])
  })
})

it('events that repeat are counted, many of a kind are combined, and an object has 25 at first', async () => {
  const api = createMemoryApi()
  const recorder = createEventRecorder({ nodeName: 'node-1', client: api.client })
  const pod: Pod = { metadata: { name: 'p', namespace: 'n', uid: 'u' } }
  const other: Pod = { metadata: { name: 'q', namespace: 'n', uid: 'v' } }
  for (let count = 0; count < 3; count++) recorder.record(pod, { type: 'Warning', reason: 'BackOff', message: 'again' })
  for (let count = 0; count < 40; count++) recorder.record(other, { type: 'Normal', reason: 'R', message: `${count}` })
  await expect.poll(() => api.seen.length).toBe(28)
  const created = api.seen.filter(({ verb }) => verb === 'create')
  // One of the first pod, ten of the other, and one for all that follow.
  expect(created).toHaveLength(12)
  const combined = api.get(created.at(-1)?.path ?? '') as Event
  expect(combined).toMatchObject({ count: 15, message: '(combined from similar events): 24' })
  const stored = api.get(created[0]?.path ?? '') as Event
  expect(stored).toMatchObject({
    count: 3,
    reason: 'BackOff',
    involvedObject: { kind: 'Pod', name: 'p', namespace: 'n', uid: 'u' },
    source: { component: 'kubelet', host: 'node-1' },
  })
  recorder.close()
})

it('events beyond eventRecordQPS wait, and none is lost', async () => {
  const api = createMemoryApi()
  const clock = still()
  const recorder = createEventRecorder({ nodeName: 'node-1', client: api.client, qps: 5, burst: 3, clock })
  const event = { type: 'Normal', reason: 'R', message: 'm' } as const
  for (let count = 0; count < 5; count++)
    recorder.record({ metadata: { name: `p${count}`, namespace: 'n', uid: `${count}` } }, event)
  const written = async (count: number): Promise<void> => {
    await expect.poll(() => api.seen.length).toBe(count)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(api.seen).toHaveLength(count)
  }
  await written(3)
  clock.pass(200)
  await written(4)
  clock.pass(200)
  await written(5)
  recorder.close()
})

it('pulls beyond registryPullQPS are refused until time has passed; 0 is no limit', async () => {
  const clock = still()
  const { imageService } = createMemoryRuntime()
  const limited = withPullRate(imageService, { qps: 5, burst: 2 }, clock)
  const pull = async (service = limited): Promise<unknown> =>
    service.pullImage({ image: { image: 'a:1', annotations: {}, userSpecifiedImage: '', runtimeHandler: '' } } as never)
  await pull()
  await pull()
  await expect(pull()).rejects.toThrow(/^pull QPS exceeded$/)
  clock.pass(200)
  await pull()
  await expect(pull()).rejects.toThrow('pull QPS exceeded')
  expect(withPullRate(imageService, { qps: 0, burst: 0 }, clock)).toBe(imageService)
})

test.each([
  [
    {},
    ['GuaranteedQoSPodCPUResize', 'InPlacePodLevelResourcesVerticalScaling', 'RestartAllContainersOnContainerExits'],
  ],
  [{ cpuManagerPolicy: 'static' }, ['InPlacePodLevelResourcesVerticalScaling', 'RestartAllContainersOnContainerExits']],
  [
    { cgroupsPerQOS: false, enforceNodeAllocatable: [] },
    ['GuaranteedQoSPodCPUResize', 'RestartAllContainersOnContainerExits'],
  ],
  [
    { featureGates: { RestartAllContainersOnContainerExits: false } },
    ['GuaranteedQoSPodCPUResize', 'InPlacePodLevelResourcesVerticalScaling'],
  ],
  [{ featureGates: { NodeDeclaredFeatures: false } }, undefined],
])('with %j the node declares %j', (settings, features) => {
  expect(declaredFeatures(parseKubeletConfiguration(settings, 'test'))).toEqual(features)
})
