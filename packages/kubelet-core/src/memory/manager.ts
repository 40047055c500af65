// Memory of this node's NUMA nodes that guaranteed containers have for sure.
import { join } from 'node:path'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { formatCpuList } from '../cpu/cpu-set.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podLevelOf } from '../resource/pod-level.ts'
import { qosClass } from '../resource/qos.ts'
import { stateError } from '../state-file/state-file.ts'
import type { ResourceHints, TopologyHint } from '../topology/hints.ts'
import { idsOf, maskOf, masksOf, type NumaMask, type NumaNode, sizeOf } from '../topology/numa.ts'
import { containersOf, isPassing, peakOf, type ShareGiver } from '../topology/share.ts'
import { type Machine, machineWith, mayGroup, type ReservedMemory, sumOf } from './machine.ts'
import { type MemoryBlock, type MemoryState, readMemoryState, writeMemoryState } from './state.ts'

export interface MemoryManagerOptions {
  rootDir: string
  /** KubeletConfiguration `memoryManagerPolicy`. */
  policy: 'None' | 'Static'
  nodes: readonly NumaNode[]
  reserved: ReservedMemory
}

export interface MemoryManager extends ShareGiver {
  /** The NUMA nodes that the container's memory comes from, as a list; undefined: the node does not say. */
  memsOf(podUid: string, container: string): string | undefined
  blocksOf(podUid: string, container: string): readonly MemoryBlock[]
  /** What containers may have of each node, given out or not. */
  allocatable(): MemoryBlock[]
}

const nothing: MemoryManager = {
  hints: () => new Map(),
  podHints: () => new Map(),
  give: async () => undefined,
  release: async () => undefined,
  memsOf: () => undefined,
  blocksOf: () => [],
  allocatable: () => [],
}

/** Kind → bytes. */
type Wishes = ReadonlyMap<string, number>

/** @throws Error naming a state that does not fit */
export async function openMemoryManager({
  rootDir,
  policy,
  nodes,
  reserved,
}: MemoryManagerOptions): Promise<MemoryManager> {
  const path = join(rootDir, 'memory_manager_state')
  const before = await readMemoryState(path)
  if (before && before.policyName !== policy) {
    throw stateError(path, `was written with the policy ${before.policyName}, which is now ${policy}`)
  }
  if (policy === 'None') {
    if (!before) await writeMemoryState(path, { policyName: 'None', machineState: {}, entries: {} })
    return nothing
  }
  const ids = nodes.map(({ id }) => id)
  const entries = new Map(
    Object.entries(before?.entries ?? {}).map(([uid, own]) => [uid, new Map(Object.entries(own))]),
  )
  const blocks = (): MemoryBlock[] => [...entries.values()].flatMap((own) => [...own.values()].flat())
  const gone = blocks().flatMap(({ numaAffinity }) => numaAffinity.filter((id) => !ids.includes(id)))
  if (gone.length > 0)
    throw stateError(path, `gives out memory of NUMA nodes ${formatCpuList(gone)}, which this machine has not`)
  const machine = (): Machine => machineWith(nodes, reserved, blocks())
  const save = async (): Promise<void> => {
    const state: MemoryState = {
      policyName: policy,
      machineState: Object.fromEntries(machine()),
      entries: Object.fromEntries([...entries].map(([uid, own]) => [uid, Object.fromEntries(own)])),
    }
    await writeMemoryState(path, state)
  }
  await save()

  const masks = masksOf(ids)
  const ownOf = (podUid: string, container: string): readonly MemoryBlock[] => entries.get(podUid)?.get(container) ?? []

  /** Bytes of a kind that ended containers of the pod leave on exactly these nodes. */
  const reusableOn = (pod: Pod, container: Container | undefined, mask: NumaMask, kind: string): number => {
    let left = 0
    for (const one of containersOf(pod)) {
      if (one.name === container?.name) break
      const same = ownOf(pod.metadata?.uid ?? '', one.name).find(
        ({ type, numaAffinity }) => type === kind && maskOf(numaAffinity) === mask,
      )
      if (same && isPassing(pod, one)) left += same.size
    }
    return left
  }

  /** All sets of nodes that have all that is wanted. */
  const placesOf = (pod: Pod, container: Container | undefined, wishes: Wishes): TopologyHint[] => {
    const now = machine()
    let least = ids.length
    const able = masks.filter((mask) => {
      const fits = (of: 'allocatable' | 'free', more: (kind: string) => number): boolean =>
        [...wishes].every(([kind, size]) => sumOf(now, mask, kind, of) + more(kind) >= size)
      if (!fits('allocatable', () => 0)) return false
      least = Math.min(least, sizeOf(mask))
      return mayGroup(now, mask) && fits('free', (kind) => reusableOn(pod, container, mask, kind))
    })
    return able.map((affinity) => ({ affinity, preferred: sizeOf(affinity) === least }))
  }

  const hintsOf = (
    pod: Pod,
    container: Container | undefined,
    wishes: Wishes,
    has: readonly MemoryBlock[],
  ): ReadonlyMap<string, ResourceHints> => {
    if (wishes.size === 0) return new Map()
    if (has.length > 0) {
      const affinity = maskOf(has.flatMap(({ numaAffinity }) => numaAffinity))
      const fits = [...wishes].every(([kind]) => has.some(({ type }) => type === kind))
      return new Map([...wishes].map(([kind]) => [kind, fits ? [{ affinity, preferred: true }] : []]))
    }
    const places = placesOf(pod, container, wishes)
    return new Map([...wishes].map(([kind]) => [kind, places]))
  }

  /** @throws Error when no nodes will do */
  const choose = (pod: Pod, container: Container, wishes: Wishes, place: TopologyHint): NumaMask => {
    const places = placesOf(pod, container, wishes)
    const wanted = place.affinity ?? 0
    const able = places.filter(({ affinity = 0 }) => (affinity & wanted) === wanted)
    const [best] = able.toSorted(
      (a, b) =>
        Number(b.preferred) - Number(a.preferred) ||
        sizeOf(a.affinity ?? 0) - sizeOf(b.affinity ?? 0) ||
        (a.affinity ?? 0) - (b.affinity ?? 0),
    )
    if (!best) {
      throw new Error(
        '[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available',
      )
    }
    // A place that was said to suit must not grow for this one's sake.
    if (place.preferred && !best.preferred && best.affinity !== place.affinity) {
      throw new Error(`[memorymanager] failed to find the ${wanted === 0 ? 'default' : 'extended'} preferred hint`)
    }
    return best.affinity ?? 0
  }

  /** What this container uses again is not counted for the one that has ended, too. */
  const takeOver = (pod: Pod, container: Container, mask: NumaMask, kind: string, size: number): void => {
    let wanted = size
    for (const one of containersOf(pod)) {
      if (one.name === container.name) break
      if (!isPassing(pod, one)) continue
      const own = entries.get(pod.metadata?.uid ?? '')
      const kept = ownOf(pod.metadata?.uid ?? '', one.name).map((block) => {
        if (block.type !== kind || maskOf(block.numaAffinity) !== mask) return block
        const part = Math.min(wanted, block.size)
        wanted -= part
        return { ...block, size: block.size - part }
      })
      if (kept.length > 0) own?.set(one.name, kept)
    }
  }

  return {
    hints: (pod, container) =>
      hintsOf(pod, container, wishesOf(pod, container), ownOf(pod.metadata?.uid ?? '', container.name)),
    podHints(pod) {
      const kinds = new Set(containersOf(pod).flatMap((one) => [...wishesOf(pod, one).keys()]))
      const peaks = [...kinds].map((kind): [string, number] => [
        kind,
        peakOf(pod, (one) => wishesOf(pod, one).get(kind) ?? 0),
      ])
      const has = [...(entries.get(pod.metadata?.uid ?? '')?.values() ?? [])].flat()
      return hintsOf(pod, undefined, new Map(peaks), has)
    },
    async give(pod, container, place) {
      const uid = pod.metadata?.uid ?? ''
      const wishes = wishesOf(pod, container)
      if (wishes.size === 0 || ownOf(uid, container.name).length > 0) return
      const mask = choose(pod, container, wishes, place)
      const given = [...wishes].map(([type, size]): MemoryBlock => ({ numaAffinity: idsOf(mask), type, size }))
      for (const { type, size } of given) takeOver(pod, container, mask, type, size)
      const own = entries.get(uid) ?? new Map<string, MemoryBlock[]>()
      entries.set(uid, own.set(container.name, given))
      await save()
    },
    async release(podUid) {
      if (entries.delete(podUid)) await save()
    },
    memsOf(podUid, container) {
      const own = ownOf(podUid, container)
      return own.length > 0 ? formatCpuList(own.flatMap(({ numaAffinity }) => numaAffinity)) : undefined
    },
    blocksOf: ownOf,
    allocatable: () =>
      [...machine()].flatMap(([id, { memoryMap }]) =>
        Object.entries(memoryMap).map(([type, { allocatable: size }]) => ({ numaAffinity: [id], type, size })),
      ),
  }
}

/** Containers of Guaranteed pods have the memory that they ask for, unless the pod asks as a whole. */
function wishesOf(pod: Pod, { resources }: Container): Wishes {
  if (qosClass(pod) !== 'Guaranteed' || podLevelOf(pod)) return new Map()
  const all = Object.entries({ ...resources?.limits, ...resources?.requests })
  const ofMemory = all.filter(([kind]) => kind === 'memory' || kind.startsWith('hugepages-'))
  const sizes = ofMemory.map(([kind, amount]): [string, number] => [
    kind,
    Number(parseMilliQuantity(amount, `requests.${kind}`) / 1000n),
  ])
  return new Map(sizes.filter(([, size]) => size > 0))
}
