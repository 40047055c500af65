// Profiles: from what V8 measured to what `go tool pprof` reads.
import type { Profiler } from 'node:inspector'
import { setImmediate as turn } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { Profile } from '../../src/gen/profile.ts'
import { encodeProfile } from '../../src/profiling/pprof.ts'
import { takeProfile } from '../../src/profiling/profiles.ts'
import { cpuTree, heapTree } from '../../src/profiling/trees.ts'

const frame = (functionName: string, lineNumber = 0) => ({
  functionName,
  scriptId: '7',
  url: functionName.startsWith('(') ? '' : 'file:///srv/a%20b.js',
  lineNumber,
  columnNumber: 3,
})
const facts = {
  values: [
    ['samples', 'count'],
    ['cpu', 'nanoseconds'],
  ],
  period: { kind: ['cpu', 'nanoseconds'], value: 1e7 },
  beganMs: 1_700_000_000_000,
  durationMs: 1500,
} as const

/** Stacks of functions, leaf first, with their values; every reference must lead somewhere. */
function stacksOf(encoded: Uint8Array): [string, number[]][] {
  const { sample, location, function: functions, stringTable } = Profile.decode(encoded)
  expect(stringTable[0]).toBe('')
  expect(new Set(stringTable).size).toBe(stringTable.length)
  const text = (at: bigint): string => stringTable[Number(at)] ?? expect.unreachable(`no text ${at}`)
  return sample.map(({ locationId, value }) => [
    locationId
      .map((id) => {
        expect(id).toBeGreaterThan(0n)
        const line = location.find((one) => one.id === id)?.line[0] ?? expect.unreachable(`no location ${id}`)
        const found = functions.find((one) => one.id === line.functionId) ?? expect.unreachable(`no function ${id}`)
        return `${text(found.name)} ${text(found.filename)}:${line.line}`.trim()
      })
      .join(' < '),
    value.map(Number),
  ])
}

it('CPU time is told by the stack that used it; a machine at rest used none', () => {
  const profile: Profiler.Profile = {
    nodes: [
      { id: 1, callFrame: frame('(root)', -1), children: [2, 3, 6] },
      { id: 2, callFrame: frame('(idle)', -1) },
      { id: 3, callFrame: frame('main'), children: [4, 5] },
      { id: 4, callFrame: frame('', 9) },
      { id: 5, callFrame: frame('main') },
      { id: 6, callFrame: frame('(garbage collector)', -1) },
    ],
    startTime: 0,
    endTime: 60_000,
    samples: [2, 4, 5, 4, 3, 6, 2],
    timeDeltas: [10_000, 10_000, 10_000, 11_000, -5, 9000, 10_000],
  }
  const encoded = encodeProfile(cpuTree(profile), facts)
  expect(Object.fromEntries(stacksOf(encoded))).toEqual({
    '(anonymous) /srv/a b.js:10 < main /srv/a b.js:1': [2, 21_000_000],
    '(garbage collector) :0': [1, 9_000_000],
    'main /srv/a b.js:1': [1, 0],
    'main /srv/a b.js:1 < main /srv/a b.js:1': [1, 10_000_000],
  })
  const {
    timeNanos,
    durationNanos,
    period,
    periodType,
    sampleType,
    stringTable,
    function: functions,
  } = Profile.decode(encoded)
  expect([timeNanos, durationNanos, period]).toEqual([1_700_000_000_000_000_000n, 1_500_000_000n, 10_000_000n])
  const kinds = [...sampleType, periodType].map((kind) => [kind?.type, kind?.unit].map((at) => stringTable[Number(at)]))
  expect(kinds).toEqual([...facts.values, ['cpu', 'nanoseconds']])
  expect(functions.filter(({ startLine }) => startLine === 1n)).toHaveLength(1)
})

it('memory is told by the stack that took it', () => {
  const node = (id: number, name: string, selfSize: number, children: object[] = []) =>
    ({ id, callFrame: frame(name, id), selfSize, children }) as never
  const head = node(1, '(root)', 0, [node(2, 'make', 0, [node(3, 'grow', 4096)]), node(4, 'keep', 16)])
  const encoded = encodeProfile(heapTree({ head }), { ...facts, values: [['inuse_space', 'bytes']] })
  expect(Object.fromEntries(stacksOf(encoded))).toEqual({
    'grow /srv/a b.js:4 < make /srv/a b.js:3': [4096],
    'keep /srv/a b.js:5': [16],
  })
})

async function busyUntil(ended: Promise<unknown>, work: () => void): Promise<void> {
  let isRunning = true
  void ended.finally(() => (isRunning = false))
  for (; isRunning; await turn()) work()
}

// A profile takes half a second, in which a busy machine may let the sampler or the work hardly run: hence the tries.
it('a profile of this process names what it did', { retry: 4 }, async () => {
  const taken = takeProfile('profile', 500, new AbortController().signal)
  await busyUntil(taken, function burnsTime() {
    for (const end = performance.now() + 5; performance.now() < end;);
  })
  const stacks = stacksOf(gunzipSync(await taken))
  const timeOf = (name: string): number =>
    stacks.filter(([stack]) => stack.includes(name)).reduce((sum, [, [, ns = 0]]) => sum + ns, 0)
  expect(timeOf('burnsTime')).toBeGreaterThan(0)
})

const fill = (): object[] => Array.from({ length: 5000 }, (_, at) => ({ at }))

it.each([
  ['heap', false],
  ['allocs', true],
] as const)('a profile of memory (%s) has what was dropped: %s', { retry: 4 }, async (name, isAll) => {
  const kept: object[] = []
  const taken = takeProfile(name, 500, new AbortController().signal)
  function keepsMemory() {
    if (kept.length < 8) kept.push(fill())
  }
  function dropsMemory() {
    if (fill().length === 0) kept.pop()
  }
  await busyUntil(taken, () => {
    keepsMemory()
    dropsMemory()
  })
  const stacks = stacksOf(gunzipSync(await taken))
  const bytesOf = (name: string): number =>
    stacks.filter(([stack]) => stack.includes(name)).reduce((sum, [, [bytes = 0]]) => sum + bytes, 0)
  expect(kept).toHaveLength(8)
  expect(bytesOf('keepsMemory')).toBeGreaterThan(1e6)
  expect(bytesOf('dropsMemory') > 5 * bytesOf('keepsMemory')).toBe(isAll)
})
