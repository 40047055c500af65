// CPUs of this node: which containers have some for themselves, and which are everybody's.
import { join } from 'node:path'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podLevelOf } from '../resource/pod-level.ts'
import { qosClass } from '../resource/qos.ts'
import { stateError } from '../state-file/state-file.ts'
import { hintsFor, type ResourceHints, type TopologyHint } from '../topology/hints.ts'
import { masksOf, type NumaMask, sizeOf } from '../topology/numa.ts'
import { peakOf, reusableFor, type ShareGiver, ShareError } from '../topology/share.ts'
import { formatCpuList, ordered, parseCpuList, without } from './cpu-set.ts'
import type { CpuOptions } from './options.ts'
import { type CpuState, readCpuState, writeCpuState } from './state.ts'
import { takeCpus, type TakeRules } from './take.ts'
import type { Cpu } from './topology.ts'

export interface CpuManagerOptions {
  rootDir: string
  cpus: readonly Cpu[]
  /** KubeletConfiguration `cpuManagerPolicy` and its options. */
  policy: 'none' | 'static'
  options: CpuOptions
  /** KubeletConfiguration `reservedSystemCPUs`; empty: the first so many of `reservedMilliCpu`. */
  reservedCpus: string
  reservedMilliCpu: bigint
  /** What is everybody's is another now: containers without CPUs of their own are to be told. */
  poolChanged(): void
}

export interface CpuManager extends ShareGiver {
  /** What the container may run on, as a list; undefined: the node does not say. */
  cpusetOf(podUid: string, container: string): string | undefined
  /** Those that the container has for itself. */
  exclusiveOf(podUid: string, container: string): number[]
  /** NUMA node → how many of its CPUs one container has for itself; of all nodes. */
  exclusivePerNode(): Map<number, number>
  /** Those that containers may have for themselves, given out or not. */
  allocatable(): number[]
}

const nothing: CpuManager = {
  hints: () => new Map(),
  podHints: () => new Map(),
  give: async () => undefined,
  release: async () => undefined,
  cpusetOf: () => undefined,
  exclusiveOf: () => [],
  exclusivePerNode: () => new Map(),
  allocatable: () => [],
}

/** @throws RangeError naming a wrong setting; Error naming a state that does not fit */
export async function openCpuManager(settings: CpuManagerOptions): Promise<CpuManager> {
  const { rootDir, cpus, policy, options, poolChanged } = settings
  const path = join(rootDir, 'cpu_manager_state')
  const before = await readCpuState(path)
  if (before && before.policyName !== policy) {
    throw stateError(path, `was written with the policy ${before.policyName}, which is now ${policy}`)
  }
  const all = cpus.map(({ id }) => id)
  if (policy === 'none') {
    if (!before) await writeCpuState(path, { policyName: 'none', defaultCpuSet: '', entries: {} })
    return nothing
  }
  const reserved = reservedOf(settings, all)
  const entries = new Map(
    Object.entries(before?.entries ?? {}).map(([uid, own]) => [
      uid,
      new Map(Object.entries(own).map(([name, list]) => [name, parseCpuList(list, path)])),
    ]),
  )
  const owned = (): number[] => [...entries.values()].flatMap((own) => [...own.values()].flat())
  const gone = without(owned(), all)
  if (gone.length > 0) throw stateError(path, `gives out CPUs ${formatCpuList(gone)}, which this machine has not`)
  const pool = (): number[] => without(without(all, owned()), options.strictReservation ? reserved : [])
  const save = async (): Promise<void> => {
    const lists = [...entries].map(([uid, own]) => [
      uid,
      Object.fromEntries([...own].map(([name, list]) => [name, formatCpuList(list)])),
    ])
    const state: CpuState = {
      policyName: policy,
      defaultCpuSet: formatCpuList(pool()),
      entries: Object.fromEntries(lists) as CpuState['entries'],
    }
    await writeCpuState(path, state)
  }
  await save()

  const coreOf = Map.groupBy(cpus, ({ core }) => core)
  const threadsPerCore = Math.max(...[...coreOf.values()].map((own) => own.length))
  const rules: TakeRules = {
    acrossCores: options.acrossCores,
    byCache: options.byCache,
    acrossNodes: options.acrossNodes ? { groupSize: options.fullCores ? threadsPerCore : 1 } : undefined,
  }
  const wholeCores = (free: readonly number[]): number[] => {
    const able = new Set(free)
    const cores = [...coreOf.values()].filter((core) => core.every(({ id }) => able.has(id)))
    return cores.flatMap((core) => core.map(({ id }) => id))
  }

  const nodes = [...new Set(cpus.map(({ node }) => node))]
  let masks: NumaMask[] | undefined
  const at = new Map(cpus.map((cpu) => [cpu.id, cpu]))
  const inMask = (mask: NumaMask, of: readonly number[]): number[] =>
    of.filter((id) => (mask & (1 << (at.get(id)?.node ?? 0))) !== 0)
  const socketsOf = (mask: NumaMask): Set<number> =>
    new Set(cpus.filter(({ node }) => (mask & (1 << node)) !== 0).map(({ socket }) => socket))
  const isAligned = (mask: NumaMask, least: number): boolean => {
    if (sizeOf(mask) === least) return true
    const nodesPerSocket = nodes.length / new Set(cpus.map(({ socket }) => socket)).size
    return options.bySocket && nodesPerSocket >= 1 && socketsOf(mask).size === Math.ceil(least / nodesPerSocket)
  }
  /** @param fixed all of them are to be in the place */
  const placesOf = (count: number, able: readonly number[], fixed: readonly number[]): ResourceHints =>
    hintsFor((masks ??= masksOf(nodes.toSorted((a, b) => a - b))), {
      count,
      has: (mask) => inMask(mask, all).length,
      free: (mask) =>
        inMask(mask, fixed).length < fixed.length ? undefined : inMask(mask, [...able, ...fixed]).length,
      isPreferred: isAligned,
    })

  const ownOf = (pod: Pod, container: string): number[] | undefined =>
    entries.get(pod.metadata?.uid ?? '')?.get(container)
  const free = (): number[] => without(pool(), reserved)

  const hints: CpuManager['hints'] = (pod, container) => {
    const count = exclusiveCpus(pod, container)
    if (count === 0) return new Map()
    const has = ownOf(pod, container.name)
    if (has) return new Map([['cpu', has.length === count ? placesOf(count, has, []) : []]])
    const reusable = reusableFor(pod, container, (name) => ownOf(pod, name) ?? [])
    return new Map([['cpu', placesOf(count, free(), reusable)]])
  }

  const choose = (count: number, reusable: readonly number[], { affinity }: TopologyHint): number[] => {
    const able = ordered([...free(), ...reusable])
    const usable = options.fullCores ? wholeCores(able) : able
    if (options.fullCores) checkCores(count, threadsPerCore, usable.length)
    const near = affinity === undefined ? usable : nearTo(affinity, usable)
    let taken: number[] = []
    // What ended containers of the pod had comes first, then what is near.
    for (const tier of [near.filter((id) => reusable.includes(id)), near, reusable, usable]) {
      const left = without(tier, taken)
      const more = takeCpus(cpus, left, Math.min(count - taken.length, left.length), rules) ?? []
      taken = [...taken, ...more]
    }
    if (taken.length < count) {
      throw new Error(`not enough cpus available to satisfy request: requested=${count}, available=${usable.length}`)
    }
    return ordered(taken)
  }
  const nearTo = (affinity: NumaMask, usable: readonly number[]): number[] => {
    if (!options.bySocket) return inMask(affinity, usable)
    const sockets = socketsOf(affinity)
    return usable.filter((id) => sockets.has(at.get(id)?.socket ?? -1))
  }

  return {
    hints,
    podHints(pod) {
      const count = peakOf(pod, (container) => exclusiveCpus(pod, container))
      if (count === 0) return new Map()
      const has = [...(entries.get(pod.metadata?.uid ?? '')?.values() ?? [])].flat()
      return new Map([['cpu', has.length > 0 ? placesOf(has.length, has, []) : placesOf(count, free(), [])]])
    },
    async give(pod, container, place) {
      const count = exclusiveCpus(pod, container)
      if (count === 0 || ownOf(pod, container.name)) return
      const uid = pod.metadata?.uid ?? ''
      const before = formatCpuList(pool())
      const taken = choose(
        count,
        reusableFor(pod, container, (name) => ownOf(pod, name) ?? []),
        place,
      )
      const own = entries.get(uid) ?? new Map<string, number[]>()
      entries.set(uid, own.set(container.name, taken))
      await save()
      if (formatCpuList(pool()) !== before) poolChanged()
    },
    async release(podUid) {
      if (!entries.delete(podUid)) return
      await save()
      poolChanged()
    },
    cpusetOf: (podUid, container) => formatCpuList(entries.get(podUid)?.get(container) ?? pool()),
    exclusiveOf: (podUid, container) => entries.get(podUid)?.get(container) ?? [],
    exclusivePerNode() {
      const given = owned()
      return new Map(nodes.map((node) => [node, given.filter((id) => at.get(id)?.node === node).length]))
    },
    allocatable: () => without(all, reserved),
  }
}

function reservedOf({ cpus, reservedCpus, reservedMilliCpu }: CpuManagerOptions, all: readonly number[]): number[] {
  const named = parseCpuList(reservedCpus, 'reservedSystemCPUs')
  const unknown = without(named, all)
  if (unknown.length > 0) throw new RangeError(`reservedSystemCPUs: this machine has no CPUs ${formatCpuList(unknown)}`)
  if (named.length > 0) return named
  const count = Number((reservedMilliCpu + 999n) / 1000n)
  const reserved = count > 0 ? takeCpus(cpus, all, count) : undefined
  if (!reserved) {
    throw new RangeError(
      'cpuManagerPolicy "static": needs CPUs to be reserved: kubeReserved.cpu, systemReserved.cpu or reservedSystemCPUs must be more than 0, and less than the machine has',
    )
  }
  return reserved
}

function checkCores(count: number, threads: number, available: number): void {
  const fail = (why: string): never => {
    throw new ShareError('SMTAlignmentError', `SMT Alignment Error: ${why}`)
  }
  if (count % threads !== 0) fail(`requested ${count} cpus not multiple cpus per core = ${threads}`)
  if (count <= available) return
  fail(
    `not enough free physical CPUs: available physical CPUs = ${available}, requested CPUs = ${count}, CPUs per core = ${threads}`,
  )
}

/** So many CPUs a container has for itself: of Guaranteed pods, those that ask for whole ones, unless the pod asks as a whole. */
function exclusiveCpus(pod: Pod, { resources }: Container): number {
  if (qosClass(pod) !== 'Guaranteed' || podLevelOf(pod)) return 0
  const milli = parseMilliQuantity(resources?.limits?.['cpu'] ?? '0', 'limits.cpu')
  return milli % 1000n === 0n ? Number(milli / 1000n) : 0
}
