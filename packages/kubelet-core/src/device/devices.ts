// The devices of one resource, and which of them a container gets. Pure.
import { hintsFor, type ResourceHints } from '../topology/hints.ts'
import { maskOf, type NumaMask } from '../topology/numa.ts'

export interface Device {
  id: string
  healthy: boolean
  /** NUMA nodes that it is near to; empty when it does not matter. */
  nodes: readonly number[]
}

export interface Choice {
  /** All that may be taken. */
  free: readonly string[]
  /** Those of an init container that has ended by then: taken first. */
  reusable: readonly string[]
  count: number
  /** What the plugin would rather give out; what is not free is left aside. */
  preferred?: readonly string[]
  /** Those at the place that suits the container, in this order: before all others that are free. */
  near?: readonly string[]
}

/** So many devices, or undefined when there are not enough. */
export function chooseDevices({ free, reusable, count, preferred = [], near = [] }: Choice): string[] | undefined {
  const able = new Set([...reusable, ...free])
  const order = [...reusable, ...[...preferred, ...near].filter((id) => able.has(id)), ...free.toSorted()]
  const chosen = [...new Set(order)].slice(0, count)
  return chosen.length === count ? chosen : undefined
}

/** The places of so many devices; undefined when none of them says where it is. */
export function deviceHints(
  masks: readonly NumaMask[],
  devices: ReadonlyMap<string, Device>,
  count: number,
  free: readonly string[],
  reusable: readonly string[],
): ResourceHints {
  const all = [...devices.values()]
  if (all.every(({ nodes }) => nodes.length === 0)) return undefined
  if (new Set([...free, ...reusable]).size < count) return []
  const at = (id: string): NumaMask => maskOf(devices.get(id)?.nodes ?? [])
  const inside = (mask: NumaMask, ids: readonly string[]): number => ids.filter((id) => (at(id) & mask) !== 0).length
  const bound = reusable.filter((id) => at(id) !== 0)
  return hintsFor(masks, {
    count,
    has: (mask) =>
      inside(
        mask,
        all.map(({ id }) => id),
      ),
    free: (mask) => (inside(mask, bound) < bound.length ? undefined : inside(mask, [...bound, ...free])),
  })
}

/** Those at a place; all of them when none is wanted, or none says where it is. */
export function nearTo(
  place: NumaMask | undefined,
  ids: readonly string[],
  devices: ReadonlyMap<string, Device>,
): string[] {
  if (place === undefined || [...devices.values()].every(({ nodes }) => nodes.length === 0)) return [...ids]
  return ids.filter((id) => (maskOf(devices.get(id)?.nodes ?? []) & place) !== 0)
}

/** As the checkpoint keeps them: NUMA node → devices, -1 for those without one. */
export function byNode(ids: readonly string[], devices: ReadonlyMap<string, Device>): Record<string, string[]> {
  const nodes: Record<string, string[]> = {}
  for (const id of ids) {
    const near = devices.get(id)?.nodes ?? []
    for (const node of near.length > 0 ? near : [-1]) nodes[node] = [...(nodes[node] ?? []), id]
  }
  return nodes
}

/** A resource that devices may have: a domain, a slash, a name; not one of Kubernetes' own. */
export function isExtendedResource(name: string): boolean {
  const [, domain] =
    /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)\/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.exec(name) ?? []
  if (domain === undefined || domain.length > 253 || name.startsWith('requests.')) return false
  return domain !== 'kubernetes.io' && !domain.endsWith('.kubernetes.io')
}
