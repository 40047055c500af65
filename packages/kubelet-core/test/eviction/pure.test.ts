// Eviction's decisions: thresholds, when they are met, who goes first, and what is said.
import fc from 'fast-check'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it, test } from 'vitest'
import { parseKubeletConfiguration } from '../../src/configuration/kubelet-configuration.ts'
import { exceededLimit, hasLocalLimits } from '../../src/eviction/local-limits.ts'
import { blankMemory, type EvictionMemory, nextRound } from '../../src/eviction/met.ts'
import { evictionText } from '../../src/eviction/message.ts'
import { rankPods } from '../../src/eviction/ranking.ts'
import { amountText } from '../../src/eviction/signals.ts'
import { type Signal, type Threshold, thresholdsOf } from '../../src/eviction/thresholds.ts'
import type { ContainerUsage, Observations, PodUsage } from '../../src/eviction/usage.ts'

const Mi = 1024n ** 2n
const Gi = 1024n ** 3n
const configured = (input: object) => thresholdsOf(parseKubeletConfiguration(input, 'test'))
const brief = (all: readonly Threshold[]) => all.map(({ signal, text, graceMs }) => [signal, text, graceMs ?? 'hard'])

describe('thresholds', () => {
  it('are those of the Go kubelet when nothing is configured', () => {
    expect(brief(configured({}))).toEqual([
      ['allocatableMemory.available', '100Mi', 'hard'],
      ['memory.available', '100Mi', 'hard'],
      ['nodefs.available', '10%', 'hard'],
      ['nodefs.inodesFree', '5%', 'hard'],
      ['imagefs.available', '15%', 'hard'],
      ['imagefs.inodesFree', '5%', 'hard'],
    ])
  })

  it('are the configured ones alone, or laid over the defaults; a trivial percentage turns one off', () => {
    const evictionHard = { 'memory.available': '5%', 'nodefs.available': '0%' }
    const enforceNodeAllocatable = ['none']
    expect(brief(configured({ evictionHard, enforceNodeAllocatable }))).toEqual([['memory.available', '5%', 'hard']])
    const merged = configured({ evictionHard, mergeDefaultEvictionSettings: true })
    expect(merged.map(({ signal }) => signal)).toEqual([
      'allocatableMemory.available',
      'memory.available',
      'nodefs.inodesFree',
      'imagefs.available',
      'imagefs.inodesFree',
    ])
  })

  it('have a grace when soft, and a minimum to reclaim', () => {
    const [soft] = configured({
      evictionHard: {},
      evictionSoft: { 'memory.available': '1Gi' },
      evictionSoftGracePeriod: { 'memory.available': '90s' },
      evictionMinimumReclaim: { 'memory.available': '500Mi' },
    })
    expect(soft).toEqual({
      signal: 'memory.available',
      value: { quantity: Gi },
      text: '1Gi',
      graceMs: 90_000,
      minReclaim: { quantity: 500n * Mi },
    })
  })

  it('with a minimum reclaim that is no amount are refused', () => {
    const wrong = { evictionMinimumReclaim: { 'memory.available': 'much' } }
    expect(() => configured(wrong)).toThrow(/^evictionMinimumReclaim.memory.available: "much" is not a quantity/)
  })
})

const seen = (figures: Partial<Record<Signal, [bigint, bigint]>>, timeMs: number): Observations =>
  new Map(
    Object.entries(figures).map(([signal, [available, capacity]]) => [
      signal as Signal,
      { available, capacity, timeMs },
    ]),
  )

describe('rounds', () => {
  const all = configured({
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '10%' },
    evictionSoft: { 'memory.available': '1Gi' },
    evictionSoftGracePeriod: { 'memory.available': '30s' },
    evictionMinimumReclaim: { 'nodefs.available': '5%' },
    enforceNodeAllocatable: ['none'],
  })
  const walk = (steps: [number, Parameters<typeof seen>[0]][]) => {
    let memory: EvictionMemory = blankMemory
    return steps.map(([nowMs, figures]) => {
      const round = nextRound(memory, all, seen(figures, nowMs), nowMs, 300_000)
      memory = round.memory
      return [round.pressure, round.due.map(({ signal, graceMs }) => `${graceMs ? 'soft' : 'hard'} ${signal}`)]
    })
  }
  const memory = (available: bigint): Parameters<typeof seen>[0] => ({ 'memory.available': [available, 8n * Gi] })
  const disk = (available: bigint): Parameters<typeof seen>[0] => ({ 'nodefs.available': [available, 100n] })

  it('act on a hard threshold at once, on a soft one after its grace', () => {
    expect(
      walk([
        [0, memory(2n * Gi)],
        [10_000, memory(500n * Mi)],
        [39_999, memory(500n * Mi)],
        [40_000, memory(500n * Mi)],
        [50_000, memory(50n * Mi)],
      ]),
    ).toEqual([
      [[], []],
      [['MemoryPressure'], []],
      [['MemoryPressure'], []],
      [['MemoryPressure'], ['soft memory.available']],
      [['MemoryPressure'], ['hard memory.available', 'soft memory.available']],
    ])
  })

  it('forget a soft threshold that was not met for a moment', () => {
    expect(
      walk([
        [0, memory(500n * Mi)],
        [20_000, memory(2n * Gi)],
        [30_000, memory(500n * Mi)],
        [59_999, memory(500n * Mi)],
      ]).map(([, due]) => due),
    ).toEqual([[], [], [], []])
  })

  it('go on until the minimum is reclaimed, and keep the condition for the transition period', () => {
    expect(
      walk([
        [0, disk(9n)],
        [10_000, disk(12n)],
        [20_000, disk(15n)],
        [309_999, disk(50n)],
        [310_000, disk(50n)],
      ]),
    ).toEqual([
      [['DiskPressure'], ['hard nodefs.available']],
      [['DiskPressure'], ['hard nodefs.available']],
      [['DiskPressure'], []],
      [['DiskPressure'], []],
      [[], []],
    ])
  })

  it('do not act twice on one measurement', () => {
    const once = nextRound(blankMemory, all, seen(disk(5n), 1000), 1000, 0)
    expect(once.due).toHaveLength(1)
    expect(nextRound(once.memory, all, seen(disk(5n), 1000), 2000, 0).due).toHaveLength(0)
    expect(nextRound(once.memory, all, seen(disk(5n), 2000), 2000, 0).due).toHaveLength(1)
  })

  it('have memory first', () => {
    expect(walk([[0, { ...disk(1n), ...memory(1n) }]])[0]?.[1]).toEqual([
      'hard memory.available',
      'hard nodefs.available',
    ])
  })
})

const container = (memoryBytes: bigint, rootfs = 0n, logs = 0n): ContainerUsage => ({
  memoryBytes,
  rootfs: { bytes: rootfs, inodes: 1n },
  logs: { bytes: logs, inodes: 1n },
})
const usage = (containers: Record<string, ContainerUsage>, volumes: Record<string, bigint> = {}): PodUsage => ({
  memoryBytes: Object.values(containers).reduce((sum, { memoryBytes }) => sum + memoryBytes, 0n),
  processes: 1n,
  containers: new Map(Object.entries(containers)),
  volumes: new Map(Object.entries(volumes).map(([name, bytes]) => [name, { bytes, inodes: 1n, onDisk: true }])),
})
const pod = (name: string, resources: object = {}, spec: object = {}): Pod => ({
  metadata: { name, uid: name },
  spec: { containers: [{ name: 'main', resources }], ...spec },
})
const asking = (name: string, memory: string, priority = 0): Pod => pod(name, { requests: { memory } }, { priority })
const names = (pods: readonly Pod[]) => pods.map(({ metadata }) => metadata?.name)

describe('ranking', () => {
  const memoryOf = (figures: Record<string, bigint>) => (one: Pod) => {
    const bytes = figures[one.metadata?.name ?? '']
    return bytes === undefined ? undefined : usage({ main: container(bytes * Mi) })
  }
  it('for memory: over the request first, then lower priority, then greater excess', () => {
    const pods = [
      asking('within', '500Mi'),
      asking('over a little', '100Mi'),
      asking('over much', '100Mi'),
      asking('over much but important', '100Mi', 100),
      asking('unknown', '100Mi'),
    ]
    const usageOf = memoryOf({
      within: 499n,
      'over a little': 110n,
      'over much': 300n,
      'over much but important': 900n,
    })
    expect(names(rankPods(pods, { signal: 'memory.available', split: false, usageOf }))).toEqual([
      'unknown',
      'over much',
      'over a little',
      'over much but important',
      'within',
    ])
  })

  it('for a disk counts what lies on it', () => {
    const usages: Record<string, PodUsage> = {
      image: usage({ main: container(0n, 100n) }),
      logs: usage({ main: container(0n, 0n, 50n) }),
      volume: usage({ main: container(0n) }, { data: 70n }),
    }
    const order = (signal: Signal, split: boolean) =>
      names(
        rankPods([pod('image'), pod('logs'), pod('volume')], {
          signal,
          split,
          usageOf: (one) => usages[one.metadata?.name ?? ''],
        }),
      )
    expect(order('nodefs.available', false)).toEqual(['image', 'volume', 'logs'])
    expect(order('nodefs.available', true)).toEqual(['volume', 'logs', 'image'])
    expect(order('imagefs.available', true)[0]).toBe('image')
  })

  it('is total: no order of pods changes who goes first, unless they are equal', () => {
    const one = fc.record({ request: fc.nat(500), used: fc.nat(1000), priority: fc.integer({ min: -1, max: 1 }) })
    fc.assert(
      fc.property(fc.uniqueArray(one, { minLength: 1, maxLength: 8, selector: (it) => JSON.stringify(it) }), (all) => {
        const pods = all.map(({ request, priority }, index) => asking(String(index), `${request}Mi`, priority))
        const usageOf = memoryOf(Object.fromEntries(all.map(({ used }, index) => [String(index), BigInt(used)])))
        const facts = { signal: 'memory.available' as const, split: false, usageOf }
        const key = (index: string | undefined): number[] => {
          const { request = 0, used = 0, priority = 0 } = all[Number(index)] ?? {}
          return [used > request ? 0 : 1, priority, request - used]
        }
        const ranked = names(rankPods(pods, facts)).map(key)
        const reversed = names(rankPods(pods.toReversed(), facts)).map(key)
        expect(ranked).toEqual(reversed)
        const sorted = ranked.toSorted((a, b) => {
          const at = a.findIndex((value, index) => value !== b[index])
          return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0)
        })
        expect(ranked).toEqual(sorted)
      }),
    )
  })
})

test('a message names the threshold, what is left, and who used more than asked for', () => {
  const [threshold] = configured({ evictionHard: { 'memory.available': '100Mi' }, enforceNodeAllocatable: ['none'] })
  const victim = asking('web', '100Mi')
  const used = usage({ main: container(200n * Mi), other: container(Gi) })
  const observations = seen({ 'memory.available': [50n * Mi, 8n * Gi] }, 0)
  expect(threshold && evictionText(victim, threshold, observations, used)).toEqual({
    message:
      'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using 200Mi, request is 100Mi, has larger consumption of memory. ',
    annotations: {
      offending_containers: 'main',
      offending_containers_usage: '200Mi',
      starved_resource: 'memory',
    },
  })
})

test.each([
  [0n, 'memory', '0'],
  [200n * Mi, 'memory', '200Mi'],
  [1536n * 1024n, 'memory', '1536Ki'],
  [1025n, 'ephemeral-storage', '1025'],
  [5000n, 'inodes', '5k'],
  [5001n, 'inodes', '5001'],
  [32768n, 'pids', '32Ki'],
] as const)('%d of %s is %s', (amount, resource, text) => expect(amountText(amount, resource)).toBe(text))

describe('limits of local storage', () => {
  const limited = pod('web', { limits: { 'ephemeral-storage': '100Mi' } })
  const withVolume = pod('web', {}, { volumes: [{ name: 'data', emptyDir: { sizeLimit: '10Mi' } }] })
  const two = pod(
    'web',
    {},
    {
      containers: [{ name: 'main', resources: { limits: { 'ephemeral-storage': '1Mi' } } }, { name: 'free' }],
    },
  )
  test.each<[string, Pod, PodUsage, boolean, string?]>([
    ['a volume within', withVolume, usage({}, { data: 10n * Mi }), false],
    [
      'a volume beyond',
      withVolume,
      usage({}, { data: 10n * Mi + 1n }),
      false,
      'Usage of EmptyDir volume "data" exceeds the limit "10Mi". ',
    ],
    [
      'the pod as a whole, volumes included',
      limited,
      usage({ main: container(0n, 50n * Mi, 40n * Mi) }, { data: 20n * Mi }),
      false,
      'Pod ephemeral local storage usage exceeds the total limit of containers 100Mi. ',
    ],
    [
      'layers that are on another disk do not count',
      limited,
      usage({ main: container(0n, 50n * Mi, 40n * Mi) }, { data: 20n * Mi }),
      true,
    ],
    [
      'one container',
      two,
      { ...usage({ main: container(0n, Mi, 0n) }), containers: new Map([['main', container(0n, Mi, 1n)]]) },
      false,
      'Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ',
    ],
    ['without limits', pod('web'), usage({ main: container(0n, Gi, Gi) }), false],
  ])('%s', (_title, one, used, split, message) => {
    expect(exceededLimit(one, used, split)).toBe(message)
  })

  it('a container beyond its own, while the pod is within', () => {
    const resources = (limit: string) => ({ limits: { 'ephemeral-storage': limit } })
    const both = pod(
      'web',
      {},
      {
        containers: [
          { name: 'small', resources: resources('1Mi') },
          { name: 'large', resources: resources('1Gi') },
        ],
      },
    )
    expect(exceededLimit(both, usage({ small: container(0n, 0n, 2n * Mi) }), false)).toBe(
      'Container small exceeded its local ephemeral storage limit "1Mi". ',
    )
    expect([both, limited, withVolume, pod('web')].map(hasLocalLimits)).toEqual([true, true, true, false])
  })
})
