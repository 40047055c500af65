// CPUs that containers have for themselves.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { formatCpuList, parseCpuList } from '../../src/cpu/cpu-set.ts'
import { type CpuManagerOptions, openCpuManager } from '../../src/cpu/manager.ts'
import { takeCpus } from '../../src/cpu/take.ts'
import { type Cpu, readCpus } from '../../src/cpu/topology.ts'

/** Sockets of cores of threads; the second threads come after all first ones, as the kernel numbers them. */
function machine(sockets: number, cores: number, threads: number): Cpu[] {
  const all = sockets * cores
  return Array.from({ length: all * threads }, (_, id) => {
    const core = id % all
    const socket = Math.floor(core / cores)
    return { id, core: `${socket}/${core % cores}`, socket, node: socket }
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

let rootDir: string
beforeEach(async () => {
  rootDir = await mkdtemp(join(tmpdir(), 'cpus-'))
})
afterEach(async () => rm(rootDir, { recursive: true, force: true }))

const open = async (more: Partial<CpuManagerOptions> = {}) =>
  openCpuManager({
    rootDir,
    cpus: machine(1, 4, 2),
    policy: 'static',
    policyOptions: {},
    reservedCpus: '',
    reservedMilliCpu: 1000n,
    poolChanged: () => undefined,
    ...more,
  })
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

  it('refuses what does not fit, and keeps nothing of it', async () => {
    const cpus = await open()
    const two = pod('a', '4', { containers: [container('one', '4'), container('two', '4')] })
    expect(await cpus.admit(two, signal)).toEqual({
      reason: 'UnexpectedAdmissionError',
      message: 'Allocate failed due to not enough cpus available to satisfy request, which is unexpected',
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

  test.each<[Partial<CpuManagerOptions>, string]>([
    [{ reservedMilliCpu: 0n }, 'needs CPUs to be reserved'],
    [{ reservedCpus: '99' }, 'reservedSystemCPUs: this machine has no CPUs 99'],
    [{ policyOptions: { other: 'true' } }, 'cpuManagerPolicyOptions.other: is not supported'],
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
  }
  await file('devices/system/node/node1/cpulist', '3')
  expect(await readCpus(rootDir)).toEqual([
    { id: 0, core: '0/0', socket: 0, node: 0 },
    { id: 1, core: '0/1', socket: 0, node: 0 },
    { id: 3, core: '1/1', socket: 1, node: 1 },
  ])
})
