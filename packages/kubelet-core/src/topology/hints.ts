// Where the shares of a container may come from, and the place that suits all of them best. Pure.
import { type NumaMask, type NumaNode, maskOf, meanDistance, sizeOf } from './numa.ts'

/** One place that a resource can be given from. */
export interface TopologyHint {
  /** Undefined: any. */
  affinity: NumaMask | undefined
  /** No smaller place would do. */
  preferred: boolean
}

/** Of one resource: its places; none when there is no place, undefined when it does not matter. */
export type ResourceHints = readonly TopologyHint[] | undefined

export type TopologyPolicy = 'none' | 'best-effort' | 'restricted' | 'single-numa-node'

export interface TopologyRules {
  policy: TopologyPolicy
  nodes: readonly NumaNode[]
  /** KubeletConfiguration `topologyManagerPolicyOptions`: `prefer-closest-numa-nodes`. */
  preferClosest: boolean
}

export interface TopologyDecision {
  hint: TopologyHint
  admitted: boolean
}

const anywhere: TopologyHint = { affinity: undefined, preferred: true }
const nowhere: TopologyHint = { affinity: undefined, preferred: false }

/** @param hints of each resource that the container asks for */
export function decidePlace(hints: readonly ResourceHints[], rules: TopologyRules): TopologyDecision {
  const { policy, nodes } = rules
  const all = maskOf(nodes.map(({ id }) => id))
  const known = hints.map((own) => (own === undefined ? [anywhere] : own.length === 0 ? [nowhere] : own))
  const able = policy === 'single-numa-node' ? known.map((own) => own.filter(isSingle)) : known
  const best = bestOf(able, all, rules)
  // All nodes of a machine are no single one, even where there is but one.
  const hint = policy === 'single-numa-node' && best.affinity === all ? { ...best, affinity: undefined } : best
  return { hint, admitted: policy === 'best-effort' || policy === 'none' || hint.preferred }
}

const isSingle = ({ affinity, preferred }: TopologyHint): boolean =>
  preferred && (affinity === undefined || sizeOf(affinity) === 1)

interface Merged {
  mask: NumaMask
  preferred: boolean
  /** A resource so far cares for where it is. */
  bound: boolean
}

/**
 * One hint of each resource makes a place: the nodes that all of them have. All such places are found resource by resource,
 * each once, so that the work does not grow with the product of the hints.
 */
function bestOf(hints: readonly (readonly TopologyHint[])[], all: NumaMask, rules: TopologyRules): TopologyHint {
  let places: Merged[] = [{ mask: all, preferred: true, bound: false }]
  for (const own of hints) {
    const next = new Map<string, Merged>()
    for (const place of places) {
      for (const hint of own) {
        const merged = merge(place, hint)
        next.set(`${merged.mask} ${merged.preferred} ${merged.bound}`, merged)
      }
    }
    places = [...next.values()]
  }
  const most = Math.max(1, ...hints.map(smallest))
  const able = places.filter(({ mask }) => mask !== 0)
  const [best] = able.toSorted((a, b) => compare(a, b, most, rules))
  return best ? { affinity: best.mask, preferred: best.preferred } : { affinity: all, preferred: false }
}

function merge({ mask, preferred, bound }: Merged, { affinity, preferred: wanted }: TopologyHint): Merged {
  if (affinity === undefined) return { mask, preferred: preferred && wanted, bound }
  return { mask: mask & affinity, preferred: preferred && wanted && (!bound || affinity === mask), bound: true }
}

const smallest = (hints: readonly TopologyHint[]): number => {
  const sizes = hints.flatMap(({ affinity }) => (affinity === undefined ? [] : [sizeOf(affinity)]))
  return sizes.length > 0 ? Math.min(...sizes) : 0
}

/** The better one first; `most` nodes is what the largest wish cannot do without. */
function compare(a: Merged, b: Merged, most: number, rules: TopologyRules): number {
  if (a.preferred !== b.preferred) return a.preferred ? -1 : 1
  const [sizeA, sizeB] = [sizeOf(a.mask), sizeOf(b.mask)]
  if (!a.preferred && sizeA !== sizeB) {
    // What fits best is as large as needed; else the largest of those that are smaller, else the smallest of the larger.
    const fit = (size: number): number => (size > most ? size : most - size - 1000)
    return fit(sizeA) - fit(sizeB)
  }
  return sizeA - sizeB || closer(a.mask, b.mask, rules) || a.mask - b.mask
}

const closer = (a: NumaMask, b: NumaMask, { preferClosest, nodes }: TopologyRules): number =>
  preferClosest ? meanDistance(nodes, a) - meanDistance(nodes, b) : 0

export interface Countable {
  count: number
  /** How much there is in a set of nodes, given out or not. */
  has(mask: NumaMask): number
  /** How much of it may be taken; undefined when the set lacks what is to be used again. */
  free(mask: NumaMask): number | undefined
  /** Default: no smaller set has so much. */
  isPreferred?(mask: NumaMask, least: number): boolean
}

/** The places of countable things: all sets of nodes that have enough. */
export function hintsFor(masks: readonly NumaMask[], { count, has, free, isPreferred }: Countable): TopologyHint[] {
  const all = masks.at(-1) ?? 0
  const least = Math.min(sizeOf(all), ...masks.filter((mask) => has(mask) >= count).map(sizeOf))
  return masks.flatMap((affinity) => {
    const there = free(affinity)
    if (there === undefined || there < count) return []
    return [{ affinity, preferred: isPreferred?.(affinity, least) ?? sizeOf(affinity) === least }]
  })
}
