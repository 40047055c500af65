// CPUs that containers have for themselves.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { formatCpuList, parseCpuList } from '../../src/cpu/cpu-set.ts'
import { type CpuManagerOptions, openCpuManager } from '../../src/cpu/manager.ts'
import { cpuOptions } from '../../src/cpu/options.ts'
import { takeCpus, type TakeRules } from '../../src/cpu/take.ts'
import { type Cpu, readCpus } from '../../src/cpu/topology.ts'
import type { TopologyPolicy } from '../../src/topology/hints.ts'
import { createTopologyManager } from '../../src/topology/manager.ts'

/** Sockets of cores of threads; the second threads come after all first ones, as the kernel numbers them. */
function machine(sockets: number, cores: number, threads: number): Cpu[] {
  const all = sockets * cores
  return Array.from({ length: all * threads }, (_, id) => {
    const core = id % all
    const socket = Math.floor(core / cores)
    return { id, core: `${socket}/${core % cores}`, cache: `${socket}`, socket, node: socket }
  })
}
const ids = (cpus: readonly Cpu[]): number[] => cpus.map(({ id }) => id)

describe('lists of CPUs', () => {
  test.each([
    ['', []],
    ['0', [0]],
    ['0-3,7', [0, 1, 2, 3, 7]],
    ['7,1-2,2', [1, 2, 7]],
  ])('%j', (text, cpus) => expect(parseCpuList(text)).toEqual(cpus))
  test.each(['x', '3-1', '1,', '0-99999', '-1'])('%j is none', (text) => {
    expect(() => parseCpuList(text, 'reserved')).toThrow(`reserved ${JSON.stringify(text)}: is no list of CPUs`)
  })
  it('are written as they are read', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(200)), (cpus) => {
        expect(parseCpuList(formatCpuList(cpus))).toEqual(cpus.toSorted((a, b) => a - b))
      }),
    )
  })
})

describe('which are taken', () => {
  const two = machine(2, 4, 2) // 0-3,8-11 on the first socket, 4-7,12-15 on the second
  test.each<[string, string, number, string]>([
    ['one thread', '0-15', 1, '0'],
    ['a core with both threads', '0-15', 2, '0,8'],
    ['a socket', '0-15', 8, '0-3,8-11'],
    ['a socket and a core', '0-15', 10, '0-4,8-12'],
    ['the socket that is broken already', '1-15', 2, '1,9'],
    ['the thread that is alone', '1-15', 1, '8'],
    ['the core of a broken socket, not of a whole one', '2-15', 4, '2-3,10-11'],
  ])('%s', (_title, free, count, taken) => {
    expect(formatCpuList(takeCpus(two, parseCpuList(free), count) ?? [])).toBe(taken)
  })

  it('are as many as asked for, from those that are free, or none', () => {
    const shape = fc.tuple(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 2 }),
    )
    fc.assert(
      fc.property(shape, fc.nat(12), fc.infiniteStream(fc.boolean()), ([sockets, cores, threads], count, coins) => {
        const all = machine(sockets, cores, threads)
        const free = ids(all).filter(() => coins.next().value)
        const taken = takeCpus(all, free, count)
        if (free.length < count) {
          expect(taken).toBeUndefined()
          return
        }
        expect(new Set(taken).size).toBe(count)
        expect(taken?.every((cpu) => free.includes(cpu))).toBe(true)
      }),
    )
  })
})

describe('options say which', () => {
  // Four NUMA nodes of two sockets, six cores of two threads each: 0-5,24-29 on the first node.
  const big: Cpu[] = Array.from({ length: 48 }, (_, id) => {
    const node = Math.floor((id % 24) / 6)
    const [core, socket] = [`${id % 24}`, Math.floor(node / 2)]
    return { id, core, cache: `${Math.floor((id % 24) / 3)}`, socket, node }
  })
  const perNode = (taken: readonly number[] | undefined): number[] =>
    [0, 1, 2, 3].map((node) => (taken ?? []).filter((id) => big[id]?.node === node).length)
  const every = ids(big)
  test.each<[string, TakeRules, number[], number, number[]]>([
    ['packed on one node', {}, every, 10, [10, 0, 0, 0]],
    ['spread needs no more nodes than hold it', { acrossNodes: { groupSize: 1 } }, every, 10, [10, 0, 0, 0]],
    ['evenly over two', { acrossNodes: { groupSize: 1 } }, every, 14, [7, 7, 0, 0]],
    ['in whole cores', { acrossNodes: { groupSize: 2 } }, every, 14, [8, 6, 0, 0]],
    ['evenly over those that have most left', { acrossNodes: { groupSize: 1 } }, every.slice(2), 14, [0, 7, 7, 0]],
    ['packed when no group can be whole', { acrossNodes: { groupSize: 2 } }, every, 13, [12, 1, 0, 0]],
    ['evenly over all', { acrossNodes: { groupSize: 1 } }, every, 40, [10, 10, 10, 10]],
  ])('%s', (_title, rules, free, count, expected) => {
    const taken = takeCpus(big, free, count, rules)
    expect(perNode(taken)).toEqual(expected)
  })
  test.each<[string, TakeRules, string, number, string]>([
    ['threads of a core together', {}, '0-47', 4, '0-1,24-25'],
    ['one thread of each core', { acrossCores: true }, '0-47', 4, '0-3'],
    ['second threads when the first ones are taken', { acrossCores: true }, '0-2,24-26', 5, '0-2,24-25'],
    ['of one cache, where it suffices', { byCache: true }, '1-23,25-47', 6, '3-5,27-29'],
    ['of one cache that is broken already', { byCache: true }, '1-23,25-47', 4, '1-2,25-26'],
    ['otherwise of several', { byCache: true }, '0,3,6,9', 4, '0,3,6,9'],
  ])('%s', (_title, rules, free, count, expected) => {
    expect(formatCpuList(takeCpus(big, parseCpuList(free), count, rules) ?? [])).toBe(expected)
  })

  test.each<[Record<string, string>, string]>([
    [{ 'align-by-socket': 'true' }, 'align-by-socket: needs the feature gate CPUManagerPolicyAlphaOptions'],
    [{ 'full-pcpus-only': '1' }, 'cpuManagerPolicyOptions.full-pcpus-only "1": must be true or false'],
  ])('%j is refused', (cpuManagerPolicyOptions, message) => {
    const settings = { cpuManagerPolicyOptions, featureGates: {}, topologyManagerPolicy: 'none' } as const
    expect(() => cpuOptions(settings)).toThrow(message)
  })
  it('which exclude each other is said', () => {
    const both = { 'distribute-cpus-across-cores': 'true', 'full-pcpus-only': 'true' }
    const featureGates = { CPUManagerPolicyAlphaOptions: true }
    expect(() => cpuOptions({ cpuManagerPolicyOptions: both, featureGates, topologyManagerPolicy: 'none' })).toThrow(
      'distribute-cpus-across-cores and full-pcpus-only cannot be used at the same time',
    )
    expect(() =>
      cpuOptions({
        cpuManagerPolicyOptions: { 'align-by-socket': 'true' },
        featureGates,
        topologyManagerPolicy: 'single-numa-node',
      }),
    ).toThrow('align-by-socket and topologyManagerPolicy "single-numa-node"')
  })
})

let rootDir: string
beforeEach(async () => {
  rootDir = await mkdtemp(join(tmpdir(), 'cpus-'))
})
afterEach(async () => rm(rootDir, { recursive: true, force: true }))

interface More extends Partial<Omit<CpuManagerOptions, 'options'>> {
  policyOptions?: Record<string, string>
  featureGates?: Record<string, boolean>
}
const open = async ({ policyOptions = {}, featureGates = {}, ...more }: More = {}) => {
  const cpus = await openCpuManager({
    rootDir,
    cpus: machine(1, 4, 2),
    policy: 'static',
    options: cpuOptions({ cpuManagerPolicyOptions: policyOptions, featureGates, topologyManagerPolicy: 'none' }),
    reservedCpus: '',
    reservedMilliCpu: 1000n,
    poolChanged: () => undefined,
    ...more,
  })
  const giver = createTopologyManager({
    policy: 'none',
    nodes: [],
    preferClosest: false,
    scope: 'container',
    givers: [cpus],
  })
  // As admission does it: what is refused keeps nothing.
  const admit = async (pod: Pod, signal: AbortSignal) => {
    const refused = await giver.admit(pod, signal)
    if (refused) await giver.release(pod.metadata?.uid ?? '')
    return refused
  }
  return { ...cpus, admit, isExclusive: (...of: [string, string]) => cpus.exclusiveOf(...of).length > 0 }
}
const container = (name: string, cpu: string, more: object = {}) => ({
  name,
  resources: { limits: { cpu, memory: '1Gi' } },
  ...more,
})
const pod = (uid: string, cpu: string, spec: object = {}): Pod => ({
  metadata: { uid },
  spec: { containers: [container('main', cpu)], ...spec },
})
const { signal } = new AbortController()

it('tells of each NUMA node how many CPUs are given', async () => {
  const cpus = await open({ cpus: machine(2, 2, 1).map((cpu) => ({ ...cpu, node: cpu.socket })) })
  expect([...cpus.exclusivePerNode()]).toEqual([
    [0, 0],
    [1, 0],
  ])
  await cpus.admit(pod('a', '3'), signal)
  expect([...cpus.exclusivePerNode()]).toEqual([
    [0, 1],
    [1, 2],
  ])
})

describe('the static policy', () => {
  it('gives whole CPUs to guaranteed pods, and the rest to all others', async () => {
    let changes = 0
    const cpus = await open({ poolChanged: () => changes++ })
    expect(await cpus.admit(pod('a', '2'), signal)).toBeUndefined()
    expect(await cpus.admit(pod('b', '500m'), signal)).toBeUndefined()
    expect([cpus.cpusetOf('a', 'main'), cpus.cpusetOf('b', 'main')]).toEqual(['1,5', '0,2-4,6-7'])
    expect([cpus.isExclusive('a', 'main'), cpus.isExclusive('b', 'main'), changes]).toEqual([true, false, 1])
    expect(JSON.parse(await readFile(join(rootDir, 'cpu_manager_state'), 'utf8'))).toMatchObject({
      policyName: 'static',
      defaultCpuSet: '0,2-4,6-7',
      entries: { a: { main: '1,5' } },
    })
    await cpus.release('a')
    expect([cpus.cpusetOf('b', 'main'), changes]).toEqual(['0-7', 2])
  })

  it('gives none to the containers of a pod that asks as a whole', async () => {
    const cpus = await open()
    const resources = { limits: { cpu: '2', memory: '1Gi' } }
    expect(await cpus.admit(pod('whole', '2', { resources }), signal)).toBeUndefined()
    expect(await cpus.admit(pod('said-nothing', '2', { resources: {} }), signal)).toBeUndefined()
    expect([cpus.isExclusive('whole', 'main'), cpus.isExclusive('said-nothing', 'main')]).toEqual([false, true])
  })

  it('refuses what does not fit, and keeps nothing of it', async () => {
    const cpus = await open()
    const two = pod('a', '4', { containers: [container('one', '4'), container('two', '4')] })
    expect(await cpus.admit(two, signal)).toEqual({
      reason: 'UnexpectedAdmissionError',
      message:
        'Allocate failed due to not enough cpus available to satisfy request: requested=4, available=3, which is unexpected',
    })
    expect(cpus.cpusetOf('b', 'main')).toBe('0-7')
  })

  it('hands the CPUs of init containers on; sidecars keep theirs', async () => {
    const cpus = await open()
    const inits = [container('init', '4'), container('side', '1', { restartPolicy: 'Always' })]
    await cpus.admit(pod('a', '2', { initContainers: inits }), signal)
    const [init, side, main] = ['init', 'side', 'main'].map((name) => parseCpuList(cpus.cpusetOf('a', name) ?? ''))
    expect(main?.every((cpu) => init?.includes(cpu))).toBe(true)
    expect(side?.some((cpu) => main?.includes(cpu))).toBe(false)
  })

  it('remembers over a restart, and refuses a state of another policy or machine', async () => {
    await (await open()).admit(pod('a', '2'), signal)
    expect((await open()).cpusetOf('a', 'main')).toBe('1,5')
    await expect(open({ policy: 'none' })).rejects.toThrow('was written with the policy static, which is now none')
    await expect(open({ cpus: machine(1, 1, 2) })).rejects.toThrow('gives out CPUs 5, which this machine has not')
    const path = join(rootDir, 'cpu_manager_state')
    await writeFile(path, (await readFile(path, 'utf8')).replace('1,5', '2,6'))
    await expect(open()).rejects.toThrow(`${path}: its checksum does not fit its content: drain this node`)
  })

  it('full-pcpus-only takes whole cores alone', async () => {
    const cpus = await open({ policyOptions: { 'full-pcpus-only': 'true' } })
    expect(await cpus.admit(pod('a', '1'), signal)).toEqual({
      reason: 'SMTAlignmentError',
      message: 'SMT Alignment Error: requested 1 cpus not multiple cpus per core = 2',
    })
    expect(await cpus.admit(pod('b', '6'), signal)).toBeUndefined()
    expect(await cpus.admit(pod('c', '2'), signal)).toMatchObject({ reason: 'SMTAlignmentError' })
  })

  it('strict-cpu-reservation keeps all others off the reserved CPUs', async () => {
    const cpus = await open({ reservedCpus: '0,4', policyOptions: { 'strict-cpu-reservation': 'true' } })
    expect(cpus.cpusetOf('b', 'main')).toBe('1-3,5-7')
  })

  test.each<[More, string]>([
    [{ reservedMilliCpu: 0n }, 'needs CPUs to be reserved'],
    [{ reservedCpus: '99' }, 'reservedSystemCPUs: this machine has no CPUs 99'],
    [{ policyOptions: { other: 'true' } }, 'cpuManagerPolicyOptions.other: is not known'],
    [{ policyOptions: { 'full-pcpus-only': 'yes' } }, 'must be true or false'],
  ])('a wrong setting is refused: %#', async (more, message) => {
    await expect(open(more)).rejects.toThrow(message)
  })

  it('never gives a CPU to two, nor a reserved one; all come back', async () => {
    const step = fc.record({
      uid: fc.constantFrom('a', 'b', 'c', 'd'),
      cpu: fc.integer({ min: 1, max: 4 }),
      ends: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        await rm(join(rootDir, 'cpu_manager_state'), { force: true })
        const cpus = await open({ cpus: machine(2, 3, 2), reservedMilliCpu: 1500n })
        const live = new Map<string, number>()
        for (const { uid, cpu, ends } of steps) {
          if (ends) {
            await cpus.release(uid)
            live.delete(uid)
          } else if (!live.has(uid) && !(await cpus.admit(pod(uid, String(cpu)), signal))) live.set(uid, cpu)
          const owned = [...live].flatMap(([one]) => parseCpuList(cpus.cpusetOf(one, 'main') ?? ''))
          expect(owned).toHaveLength([...live.values()].reduce((sum, count) => sum + count, 0))
          expect(new Set([...owned, ...parseCpuList(cpus.cpusetOf('none', 'main') ?? '')]).size).toBe(12)
          expect(new Set(owned).size).toBe(owned.length)
          expect(owned.filter((one) => [0, 6].includes(one))).toEqual([])
        }
        for (const uid of live.keys()) await cpus.release(uid)
        expect(cpus.cpusetOf('none', 'main')).toBe('0-11')
      }),
      { numRuns: 30 },
    )
  })
})

describe('with a place that is wanted', () => {
  const twoNodes = machine(2, 4, 2)
  const placed = async (policy: TopologyPolicy, more: More = {}, scope: 'container' | 'pod' = 'container') => {
    const cpus = await open({ cpus: twoNodes, ...more })
    const nodes = [0, 1].map((id) => ({ id, distances: new Map<number, number>(), memory: {} }))
    return { ...cpus, giver: createTopologyManager({ policy, nodes, preferClosest: false, scope, givers: [cpus] }) }
  }
  const nodeOfCpus = (list: string | undefined): number[] => [
    ...new Set(parseCpuList(list ?? '').map((id) => twoNodes[id]?.node ?? -1)),
  ]

  it('CPUs are of one node', async () => {
    const cpus = await placed('single-numa-node')
    for (const uid of ['a', 'b']) expect(await cpus.giver.admit(pod(uid, '5'), signal)).toBeUndefined()
    expect(await cpus.giver.admit(pod('c', '5'), signal)).toMatchObject({ reason: 'TopologyAffinityError' })
    expect(nodeOfCpus(cpus.cpusetOf('a', 'main'))).toHaveLength(1)
    expect(nodeOfCpus(cpus.cpusetOf('b', 'main'))).toHaveLength(1)
  })
  it('a pod that no single node can hold is refused, or takes two where that is allowed', async () => {
    const wide = pod('wide', '10')
    const refusal = { reason: 'TopologyAffinityError', message: 'Resources cannot be allocated with Topology locality' }
    expect(await (await placed('single-numa-node')).giver.admit(wide, signal)).toEqual(refusal)
    const restricted = await placed('restricted')
    expect(await restricted.giver.admit(wide, signal)).toBeUndefined()
    expect(nodeOfCpus(restricted.cpusetOf('wide', 'main'))).toHaveLength(2)
  })
  it('restricted refuses two nodes where one would do, if it were free; best-effort takes them', async () => {
    const restricted = await placed('restricted')
    for (const uid of ['a', 'b']) await restricted.giver.admit(pod(uid, '5'), signal)
    expect(await restricted.giver.admit(pod('c', '4'), signal)).toMatchObject({ reason: 'TopologyAffinityError' })
    const effort = await placed('best-effort')
    expect(await effort.giver.admit(pod('c', '4'), signal)).toBeUndefined()
    expect(nodeOfCpus(effort.cpusetOf('c', 'main'))).toHaveLength(2)
  })
  it('the pod as a whole has one place', async () => {
    const two = pod('two', '', { containers: [container('one', '5'), container('other', '4')] })
    expect(await (await placed('single-numa-node', {}, 'pod')).giver.admit(two, signal)).toMatchObject({
      reason: 'TopologyAffinityError',
    })
    expect(await (await placed('single-numa-node')).giver.admit(two, signal)).toBeUndefined()
  })
})

it('without a policy nobody says where containers run, and the state says so', async () => {
  const cpus = await open({ policy: 'none' })
  await cpus.admit(pod('a', '2'), signal)
  expect([cpus.cpusetOf('a', 'main'), cpus.isExclusive('a', 'main')]).toEqual([undefined, false])
  await expect(open()).rejects.toThrow('was written with the policy none, which is now static')
})

it('reads the CPUs of this machine, and of a tree', async () => {
  expect((await readCpus()).length).toBeGreaterThanOrEqual(availableParallelism())
  const file = async (path: string, text: string): Promise<void> => {
    await mkdir(join(rootDir, path, '..'), { recursive: true })
    await writeFile(join(rootDir, path), `${text}\n`)
  }
  await file('devices/system/cpu/online', '0-1,3')
  for (const [cpu, core] of [
    [0, 0],
    [1, 1],
    [3, 1],
  ] as const) {
    await file(`devices/system/cpu/cpu${cpu}/topology/core_id`, String(core))
    await file(`devices/system/cpu/cpu${cpu}/topology/physical_package_id`, cpu === 3 ? '1' : '0')
    if (cpu < 3) await file(`devices/system/cpu/cpu${cpu}/cache/index3/id`, '7')
  }
  await file('devices/system/node/node1/cpulist', '3')
  expect(await readCpus(rootDir)).toEqual([
    { id: 0, core: '0/0', cache: '7', socket: 0, node: 0 },
    { id: 1, core: '0/1', cache: '7', socket: 0, node: 0 },
    { id: 3, core: '1/1', cache: 'socket 1', socket: 1, node: 1 },
  ])
})
