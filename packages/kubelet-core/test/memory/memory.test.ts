// Memory that guaranteed containers have of NUMA nodes.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { machineWith, reservedMemory } from '../../src/memory/machine.ts'
import { openMemoryManager } from '../../src/memory/manager.ts'
import type { TopologyPolicy } from '../../src/topology/hints.ts'
import { createTopologyManager } from '../../src/topology/manager.ts'
import type { NumaNode } from '../../src/topology/numa.ts'

const mebi = 1n << 20n
const nodes: NumaNode[] = [0, 1].map((id) => ({
  id,
  distances: new Map(),
  memory: { memory: 1024n * mebi, 'hugepages-2Mi': 64n * mebi },
}))
const reserved = new Map([[0, { memory: 24n * mebi }]])
const { signal } = new AbortController()

let rootDir: string
beforeEach(async () => {
  rootDir = await mkdtemp(join(tmpdir(), 'memory-'))
})
afterEach(async () => rm(rootDir, { recursive: true, force: true }))

async function open(topology: TopologyPolicy = 'none', scope: 'container' | 'pod' = 'container') {
  const memory = await openMemoryManager({ rootDir, policy: 'Static', nodes, reserved })
  const giver = createTopologyManager({ policy: topology, nodes, preferClosest: false, scope, givers: [memory] })
  const admit = async (pod: Pod) => {
    const refused = await giver.admit(pod, signal)
    if (refused) await giver.release(pod.metadata?.uid ?? '')
    return refused
  }
  return { ...memory, admit }
}
const container = (name: string, memory: string, more: object = {}) => ({
  name,
  resources: { limits: { cpu: '1', memory, ...more } },
})
const pod = (uid: string, memory: string, spec: object = {}): Pod => ({
  metadata: { uid },
  spec: { containers: [container('main', memory)], ...spec },
})
const state = async (): Promise<{ machineState: Record<string, { memoryMap: Record<string, { free: number }> }> }> =>
  JSON.parse(await readFile(join(rootDir, 'memory_manager_state'), 'utf8')) as never
const free = async (kind = 'memory'): Promise<number[]> =>
  Object.values((await state()).machineState).map(({ memoryMap }) => (memoryMap[kind]?.free ?? 0) / Number(mebi))

it('guaranteed pods have memory of as few nodes as will do, others have none', async () => {
  const memory = await open()
  expect(await memory.admit(pod('a', '900Mi'))).toBeUndefined()
  expect(await memory.admit(pod('b', '200Mi'))).toBeUndefined()
  expect(await memory.admit(pod('c', '1Gi', { containers: [{ name: 'main' }] }))).toBeUndefined()
  expect(['a', 'b', 'c'].map((uid) => memory.memsOf(uid, 'main'))).toEqual(['0', '1', undefined])
  expect(await free()).toEqual([100, 824])
  await memory.release('a')
  expect(await free()).toEqual([1000, 824])
})

it('containers of a pod that asks as a whole have none of their own', async () => {
  const memory = await open()
  const resources = { limits: { cpu: '1', memory: '200Mi' } }
  expect(await memory.admit(pod('whole', '200Mi', { resources }))).toBeUndefined()
  expect(await memory.admit(pod('said-nothing', '200Mi', { resources: {} }))).toBeUndefined()
  expect([memory.memsOf('whole', 'main'), memory.memsOf('said-nothing', 'main')]).toEqual([undefined, '0'])
})

it('a container that no node can hold has several; they give together to others, too', async () => {
  const memory = await open()
  expect(await memory.admit(pod('wide', '1500Mi'))).toBeUndefined()
  expect([memory.memsOf('wide', 'main'), await free()]).toEqual(['0-1', [0, 524]])
  expect(await memory.admit(pod('small', '100Mi'))).toBeUndefined()
  expect([memory.memsOf('small', 'main'), await free()]).toEqual(['0-1', [0, 424]])
  expect(await memory.admit(pod('rest', '425Mi'))).toEqual({
    reason: 'UnexpectedAdmissionError',
    message:
      'Allocate failed due to [memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available, which is unexpected',
  })
  await memory.release('small')
  await memory.release('wide')
  expect(await memory.admit(pod('small', '100Mi'))).toBeUndefined()
  expect([memory.memsOf('small', 'main'), await free()]).toEqual(['0', [900, 1024]])
})

it('memory and huge pages come from one place', async () => {
  const memory = await open('single-numa-node')
  const pages = (uid: string, amount: string): Pod =>
    pod(uid, '', { containers: [container('main', '10Mi', { 'hugepages-2Mi': amount })] })
  expect(await memory.admit(pages('a', '40Mi'))).toBeUndefined()
  expect(await memory.admit(pages('b', '40Mi'))).toBeUndefined()
  expect([memory.memsOf('a', 'main'), memory.memsOf('b', 'main')]).toEqual(['0', '1'])
  expect(await memory.admit(pages('c', '40Mi'))).toEqual({
    reason: 'TopologyAffinityError',
    message: 'Resources cannot be allocated with Topology locality',
  })
  expect(await free('hugepages-2Mi')).toEqual([24, 24])
})

it('one place for each container, or for the pod as a whole', async () => {
  const two = pod('a', '', { containers: [container('one', '600Mi'), container('two', '600Mi')] })
  const apart = await open('single-numa-node')
  expect(await apart.admit(two)).toBeUndefined()
  expect([apart.memsOf('a', 'one'), apart.memsOf('a', 'two')]).toEqual(['0', '1'])
  await apart.release('a')
  const whole = await open('single-numa-node', 'pod')
  expect(await whole.admit(two)).toMatchObject({ reason: 'TopologyAffinityError' })
})

it('what an init container had is used again, and counted once', async () => {
  const memory = await open()
  await memory.admit(pod('a', '300Mi', { initContainers: [container('init', '500Mi')] }))
  expect([memory.memsOf('a', 'init'), memory.memsOf('a', 'main'), await free()]).toEqual(['0', '0', [500, 1024]])
})

it('remembers over a restart, and refuses a state of another policy or machine', async () => {
  await (await open()).admit(pod('a', '1000Mi'))
  const again = await open()
  expect(again.memsOf('a', 'main')).toBe('0')
  expect(await again.admit(pod('a', '1000Mi'))).toBeUndefined()
  expect(await free()).toEqual([0, 1024])
  const other = { rootDir, policy: 'Static', nodes: nodes.slice(1), reserved } as const
  await expect(openMemoryManager(other)).rejects.toThrow('gives out memory of NUMA nodes 0, which this machine has not')
  await expect(openMemoryManager({ ...other, policy: 'None' })).rejects.toThrow('was written with the policy Static')
})

describe('reservedMemory', () => {
  const wanted = (kind: string): bigint => (kind === 'memory' ? 100n * mebi : 0n)
  const part = (numaNode: number, limits: Record<string, string>) => ({ numaNode, limits })
  it('has parts on each node', () => {
    const parts = [part(0, { memory: '60Mi' }), part(1, { memory: '40Mi', 'hugepages-2Mi': '0' })]
    expect(reservedMemory(parts, nodes, wanted).get(1)).toEqual({ memory: 40n * mebi, 'hugepages-2Mi': 0n })
  })
  test.each([
    [[], 'reservedMemory: memory: 0 bytes on all nodes together'],
    [[part(0, { memory: '99Mi' })], 'where kubeReserved, systemReserved and evictionHard make 104857600'],
    [[part(2, { memory: '100Mi' })], 'numaNode 2: this machine has no such NUMA node'],
    [[part(0, { memory: '50Mi' }), part(0, { memory: '50Mi' })], 'numaNode 0: is there twice'],
    [[part(0, { cpu: '1' })], 'numaNode 0: cpu: is no kind of memory'],
    [[part(0, { memory: '2Gi' })], 'numaNode 0: memory 2Gi: the node has not so much'],
  ])('%j', (parts, message) => expect(() => reservedMemory(parts, nodes, wanted)).toThrow(message))
})

it('never gives more than there is, and all comes back', async () => {
  const step = fc.record({
    uid: fc.constantFrom('a', 'b', 'c', 'd'),
    size: fc.integer({ min: 1, max: 1500 }),
    ends: fc.boolean(),
  })
  const policies = fc.constantFrom<TopologyPolicy>('none', 'best-effort', 'restricted', 'single-numa-node')
  await fc.assert(
    fc.asyncProperty(policies, fc.array(step, { maxLength: 10 }), async (policy, steps) => {
      await rm(join(rootDir, 'memory_manager_state'), { force: true })
      const memory = await open(policy)
      const live = new Map<string, number>()
      for (const { uid, size, ends } of steps) {
        if (ends) {
          await memory.release(uid)
          live.delete(uid)
        } else if (!live.has(uid) && !(await memory.admit(pod(uid, `${size}Mi`)))) live.set(uid, size)
        const given = [...live.values()].reduce((sum, one) => sum + one, 0)
        const left = await free()
        expect(left.every((one) => one >= 0)).toBe(true)
        expect(given + (left[0] ?? 0) + (left[1] ?? 0)).toBe(2024)
      }
      for (const uid of live.keys()) await memory.release(uid)
      expect(await free()).toEqual([1000, 1024])
    }),
    { numRuns: 30 },
  )
})

it('a node that has given nothing is in no group', () => {
  expect([...machineWith(nodes, reserved, []).values()].map(({ cells }) => cells)).toEqual([[0], [1]])
})
