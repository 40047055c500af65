// The kernel tells when memory runs short: in a cgroup of this test alone, with a real process that takes memory.
import { type ChildProcess, spawn } from 'node:child_process'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { openCgroups } from '@nodelet/linux'
import { expect, it } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { parseKubeletConfiguration } from '../../src/configuration/kubelet-configuration.ts'
import { createEvictionManager } from '../../src/eviction/manager.ts'
import { createMemoryAlarm } from '../../src/eviction/memory-alarm.ts'
import { silentLogger } from '../../src/log.ts'

const Mi = 1024n ** 2n
const cgroups = await openCgroups()

it.skipIf(!cgroups.onMemoryUsage)('a pod is evicted at once, long before the next look', async () => {
  const path = `/nodelet-alarm-${process.pid}`
  await cgroups.create(path)
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => {
    await cgroups.kill(path)
    await cgroups.remove(path)
  })
  const capacityBytes = 64n * Mi
  const pod: Pod = { metadata: { name: 'greedy', uid: 'u' }, spec: { containers: [] } }
  let [pods, looks] = [[pod], 0]
  const disk = { availableBytes: 1n, capacityBytes: 1n, inodes: 1n, inodesFree: 1n }
  const manager = createEvictionManager({
    configuration: parseKubeletConfiguration(
      { evictionHard: { 'memory.available': '48Mi' }, enforceNodeAllocatable: [] },
      'test',
    ),
    async nodeUsage() {
      looks++
      const { memory } = await cgroups.stats(path)
      const availableBytes = capacityBytes - BigInt(memory?.workingSet ?? 0)
      return { timeMs: Date.now(), memory: { availableBytes, capacityBytes }, nodefs: disk }
    },
    podUsage: async () => new Map(),
    pods: () => pods,
    evict: async () => void (pods = []),
    reclaimDisk: async () => {},
    pressureChanged: () => {},
    alarm: createMemoryAlarm({
      cgroups,
      measured: { 'memory.available': { path, capacityBytes } },
      log: silentLogger,
    }),
    events: { record: () => {}, recordNode: () => {} },
    clock: systemClock,
    log: silentLogger,
  })
  undo.defer(manager.close)
  manager.start()
  await expect.poll(() => looks).toBe(1)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect([looks, pods]).toEqual([1, [pod]])
  const child: ChildProcess = spawn('sh', ['-c', 'read line; head -c 20m /dev/zero | tail | sleep 60'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  await cgroups.attach(path, child.pid ?? 0)
  child.stdin?.end('go\n')
  await expect.poll(() => pods).toEqual([])
})
