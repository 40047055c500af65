// What a node tells of itself, and what it keeps to: pure rules and small edges.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { events } from '@nodelet/kube-client'
import { createMemoryRuntime } from '@nodelet/cri-api/testing'
import { openCgroups } from '@nodelet/linux'
import type { Event, Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { checkKernelSettings } from '../src/assembly/kernel-settings.ts'
import { enforceReserved, reservedLimits } from '../src/assembly/reserved-cgroups.ts'
import { parseKubeletConfiguration } from '../src/configuration/kubelet-configuration.ts'
import { createEventRecorder } from '../src/events.ts'
import { createKubeletMetrics } from '../src/metrics/kubelet-metrics.ts'
import { measured } from '../src/metrics/measured-runtime.ts'
import { statusChanges, withForeign } from '../src/node/status-changes.ts'
import { openUserNamespaces } from '../src/pod/user-namespaces.ts'
import { createMemoryApi } from './memory-api.ts'

let folder: string
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'nodelet-rules-'))))
afterAll(async () => rm(folder, { recursive: true, force: true }))

const heartbeat = (type: string, status: string) => ({ type, status, lastHeartbeatTime: '2026-01-01T00:00:00Z' })

it('what others say of a node stays, and is no change; their resources may be given out', () => {
  const own = {
    capacity: { cpu: '4', 'example.com/own': '2' },
    allocatable: { cpu: '3', 'example.com/own': '1' },
    conditions: [heartbeat('Ready', 'True')],
  }
  const inApi = {
    capacity: { ...own.capacity, 'example.com/dongle': '4', stale: '1' },
    allocatable: own.allocatable,
    conditions: [heartbeat('NetworkUnavailable', 'False'), heartbeat('Ready', 'True')],
  }
  const wanted = withForeign(own, inApi)
  expect(wanted.allocatable).toEqual({ ...own.allocatable, 'example.com/dongle': '4' })
  expect(statusChanges(inApi, wanted)).toHaveProperty('allocatable')
  const after = { ...inApi, capacity: wanted.capacity ?? {}, allocatable: wanted.allocatable ?? {} }
  expect(statusChanges(after, withForeign(own, after))).toBeUndefined()
  const broken = { ...after, conditions: [heartbeat('Ready', 'Unknown')] }
  expect(statusChanges(broken, withForeign(own, broken))).toHaveProperty('conditions')
})

it('an event that was deleted comes again when it repeats, with its count', async () => {
  const api = createMemoryApi()
  const recorder = createEventRecorder({ nodeName: 'node-1', client: api.client })
  const pod: Pod = { metadata: { name: 'p', namespace: 'n', uid: 'u' } }
  const again = (): void => recorder.record(pod, { type: 'Warning', reason: 'BackOff', message: 'again' })
  again()
  await expect.poll(() => api.seen.length).toBe(1)
  const path = api.seen[0]?.path ?? ''
  const [name = ''] = path.split('/').slice(-1)
  await api.client.delete(events, { name, namespace: 'n' })
  expect(api.get(path)).toBeUndefined()
  again()
  await expect.poll(() => (api.get(path) as Event | undefined)?.count).toBe(2)
  recorder.close()
})

const reserved = {
  kubeReserved: { cpu: '500m', memory: '1Gi', pid: '1000' },
  systemReserved: { cpu: '1', memory: '2Gi' },
  kubeReservedCgroup: '/kube',
  systemReservedCgroup: '/system',
}

it('what is reserved is all that the system gets, where that is asked for', () => {
  const limits = (...enforceNodeAllocatable: string[]) =>
    reservedLimits(parseKubeletConfiguration({ ...reserved, enforceNodeAllocatable }, 'test'))
  expect(limits('pods')).toEqual([])
  expect(limits('pods', 'kube-reserved')).toEqual([
    { what: 'kube', cgroup: '/kube', cpuShares: 512, memoryBytes: 2 ** 30, pids: 1000 },
  ])
  expect(limits('kube-reserved-compressible', 'system-reserved')).toEqual([
    { what: 'system', cgroup: '/system', cpuShares: 1024, memoryBytes: 2 ** 31 },
    { what: 'kube', cgroup: '/kube', cpuShares: 512 },
  ])
})

it('the cgroup of what is reserved gets its limits, and must be there', async () => {
  const cgroups = await openCgroups()
  const name = `/nodelet-reserved-${process.pid}`
  const configuration = parseKubeletConfiguration(
    { ...reserved, kubeReservedCgroup: name, enforceNodeAllocatable: ['kube-reserved'] },
    'test',
  )
  await expect(enforceReserved(cgroups, configuration)).rejects.toThrow(
    `Failed to enforce kube Reserved Cgroup Limits on "${name}": cgroup does not exist`,
  )
  await cgroups.create(name, {})
  try {
    expect(await enforceReserved(cgroups, configuration)).toEqual([`Updated limits on kube reserved cgroup ${name}`])
    const { memory, pids } = await cgroups.stats(name)
    expect([memory?.limit, pids?.limit]).toEqual([2 ** 30, 1000])
  } finally {
    await cgroups.remove(name)
  }
})

it('a kernel that is not as it is to be is told of, setting by setting', async () => {
  const settings = {
    'vm/overcommit_memory': 1,
    'vm/panic_on_oom': 0,
    'kernel/panic': 10,
    'kernel/panic_on_oops': 1,
    'kernel/keys/root_maxkeys': 1_000_000,
    'kernel/keys/root_maxbytes': 25_000_000,
  }
  const write = async (name: string, value: number): Promise<void> => {
    await mkdir(dirname(join(folder, 'sys', name)), { recursive: true })
    await writeFile(join(folder, 'sys', name), `${value}\n`)
  }
  for (const [name, value] of Object.entries(settings)) await write(name, value)
  await checkKernelSettings(join(folder, 'sys'))
  await write('kernel/panic', 0)
  await expect(checkKernelSettings(join(folder, 'sys'))).rejects.toThrow(
    'invalid kernel flag: kernel/panic, expected value: 10, actual value: 0',
  )
})

it('pods have as many ids as the configuration says, apart from those of before', async () => {
  const root = join(folder, 'ids')
  const uid = (digit: number) => `0000000${digit}-0000-4000-8000-000000000000`
  const before = await openUserNamespaces(root, { first: 65_536, count: 655_360 })
  expect(await before.take(uid(1))).toEqual({ hostId: 65_536, containerId: 0, length: 65_536 })
  const after = await openUserNamespaces(root, { first: 131_072, count: 1_310_720 }, 131_072)
  expect(await after.take(uid(1))).toEqual({ hostId: 65_536, containerId: 0, length: 65_536 })
  expect(await after.take(uid(2))).toEqual({ hostId: 131_072, containerId: 0, length: 131_072 })
})

it('a runtime that does not answer is not waited for longer than its calls may take', async () => {
  const { runtimeService } = createMemoryRuntime()
  const hangs = async (_request: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<never> =>
    new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)))
  const service = measured(
    { ...runtimeService, stopContainer: hangs, listContainers: hangs },
    createKubeletMetrics(),
    20,
  )
  await expect(service.listContainers({})).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
  const began = performance.now()
  await expect(service.stopContainer({ containerId: 'c', timeout: 1n })).rejects.toThrow('no answer in 1.02 s')
  expect(performance.now() - began).toBeGreaterThan(1000)
})
