// The loop that evicts: one pod a round, until the node has room again.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, expect, it } from 'vitest'
import { parseKubeletConfiguration } from '../../src/configuration/kubelet-configuration.ts'
import type { NodeletEvent } from '../../src/events.ts'
import { createEvictionManager, type EvictionManager } from '../../src/eviction/manager.ts'
import type { NodeUsage, PodUsage } from '../../src/eviction/usage.ts'
import { silentLogger } from '../../src/log.ts'
import type { PodFailure } from '../../src/pod/worker.ts'

const Mi = 1024n ** 2n
const free = { availableBytes: 100n, capacityBytes: 100n, inodes: 100n, inodesFree: 100n }

/** A node of 1000 Mi whose pods use memory until they are evicted. */
function world(configuration: object, sizes: Record<string, number>, spec: Record<string, object> = {}) {
  const pods = new Map(
    Object.keys(sizes).map((name) => [
      name,
      { metadata: { name, uid: name }, spec: { containers: [], ...spec[name] } },
    ]),
  )
  const log: string[] = []
  const events: NodeletEvent[] = []
  const failures: PodFailure[] = []
  let [nowMs, disk, reclaimed] = [0, 0n, 0]
  const used = (): bigint => [...pods.keys()].reduce((sum, name) => sum + BigInt(sizes[name] ?? 0) * Mi, 0n)
  const wake: (() => void)[] = []
  const ages: [signal: string, ms: number][] = []
  const manager = createEvictionManager({
    configuration: parseKubeletConfiguration(configuration, 'test'),
    nodeUsage: async (): Promise<NodeUsage> => ({
      timeMs: nowMs++,
      memory: { availableBytes: 1000n * Mi - used(), capacityBytes: 1000n * Mi },
      nodefs: { ...free, availableBytes: 100n - disk },
    }),
    podUsage: async () =>
      new Map(
        [...pods.keys()].map((name): [string, PodUsage] => [
          name,
          {
            memoryBytes: BigInt(sizes[name] ?? 0) * Mi,
            processes: 1n,
            containers: new Map(),
            volumes: new Map([['data', { bytes: BigInt(sizes[name] ?? 0), inodes: 1n, onDisk: true }]]),
          },
        ]),
      ),
    pods: () => [...pods.values()] as Pod[],
    async evict(pod, failure, graceSeconds) {
      log.push(`${pod.metadata?.name} ${graceSeconds}s`)
      failures.push(failure)
      pods.delete(pod.metadata?.uid ?? '')
    },
    async reclaimDisk() {
      reclaimed++
      disk = disk > 95n ? 92n : 0n
    },
    evicted: ({ signal }, measuredMs) => void ages.push([signal, nowMs - measuredMs]),
    pressureChanged: () => log.push(`pressure: ${manager.pressure().join()}`),
    events: { record: (_pod, event) => void events.push(event), recordNode: (event) => void events.push(event) },
    clock: { now: () => nowMs, after: (_ms, call) => (wake.push(call), () => {}) },
    log: silentLogger,
  })
  open.push(manager)
  return {
    manager,
    log,
    events,
    failures,
    ages,
    fill: (amount: bigint) => void (disk = amount),
    reclaimed: () => reclaimed,
    /** A round of the loop, with all that it does. */
    async round() {
      const before = wake.length
      if (before === 0) manager.start()
      else wake.at(-1)?.()
      await expect.poll(() => wake.length).toBeGreaterThan(before)
    },
  }
}

const open: EvictionManager[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

it('evicts one after the other until there is room, the largest first, and spares critical ones', async () => {
  const { log, ages, events, failures, round } = world(
    { enforceNodeAllocatable: ['none'] },
    { small: 50, large: 500, critical: 400, middle: 45 },
    { critical: { priority: 2_000_000_000 } },
  )
  await round()
  expect(log).toEqual(['pressure: MemoryPressure', 'large 1s'])
  expect(ages).toEqual([['memory.available', 1]])
  expect(events).toEqual([
    { type: 'Warning', reason: 'EvictionThresholdMet', message: 'Attempting to reclaim memory' },
    {
      type: 'Warning',
      reason: 'Evicted',
      message: 'The node was low on resource: memory. Threshold quantity: 100Mi, available: 5Mi. ',
      annotations: { offending_containers: '', offending_containers_usage: '', starved_resource: 'memory' },
    },
  ])
  expect(failures).toMatchObject([{ reason: 'Evicted', disruption: events[1]?.message }])
})

it('a soft threshold gives a pod time, at most its own', async () => {
  const soft = {
    evictionHard: {},
    evictionSoft: { 'memory.available': '500Mi' },
    evictionSoftGracePeriod: { 'memory.available': '0s' },
    evictionMaxPodGracePeriod: 60,
    enforceNodeAllocatable: ['none'],
  }
  const { log, round } = world(soft, { slow: 400, quick: 300 }, { quick: { terminationGracePeriodSeconds: 5 } })
  await round()
  expect(log.slice(1)).toEqual(['slow 60s'])
})

it('frees disk that nobody uses first; pods go when that is not enough', async () => {
  const { log, fill, reclaimed, round } = world({ enforceNodeAllocatable: ['none'] }, { web: 10 })
  fill(95n)
  await round()
  expect([reclaimed(), log]).toEqual([1, ['pressure: DiskPressure']])
  fill(97n)
  await round()
  expect(reclaimed()).toBeGreaterThan(1)
  expect(log).toEqual(['pressure: DiskPressure', 'web 1s'])
})

it('ends all that are over their own limits, without a threshold and without disruption', async () => {
  const emptyDir = { volumes: [{ name: 'data', emptyDir: { sizeLimit: '5' } }] }
  const { log, events, failures, round } = world(
    {},
    { over: 6, also: 7, within: 5 },
    {
      over: emptyDir,
      also: emptyDir,
      within: emptyDir,
    },
  )
  await round()
  expect(log).toEqual(['over 1s', 'also 1s'])
  const message = 'Usage of EmptyDir volume "data" exceeds the limit "5". '
  expect(events).toEqual(Array.from({ length: 2 }, () => ({ type: 'Warning', reason: 'Evicted', message })))
  expect(failures).toEqual(Array.from({ length: 2 }, () => ({ reason: 'Evicted', message })))
})
