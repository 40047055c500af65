// What a compiler makes of each service port, and what of it an earlier program has already.
import type { ServiceGraph, ServiceNode } from './service-graph.ts'
import { findByKey, withChanges } from './sorted.ts'

/** What was made of one node of a graph. */
export interface NodePart {
  /** That of its node. */
  key: string
  /** What it was compiled from. */
  node: ServiceNode
}

/** The parts of a program, and how they came of an earlier one's. */
export interface Parts<P extends NodePart> {
  /** In the order of their keys. */
  services: readonly P[]
  /** This program, and the graph that it was made of, without keeping them in memory. */
  version: object
  graphVersion: object
  /** Of which program it is a change, and the keys of the parts that are new, gone or other ones; undefined when any may be. */
  change: { since: object; keys: ReadonlySet<string> } | undefined
}

/** One part before and after; undefined where it is not. */
export interface PartChange<P> {
  key: string
  before: P | undefined
  after: P | undefined
}

/** Makes the parts of a graph, or takes them from `known`, which was made in the same way. */
export function partsOf<P extends NodePart>(
  graph: ServiceGraph,
  known: Parts<P> | undefined,
  make: (node: ServiceNode) => P,
): Parts<P> {
  const { version: graphVersion, change } = graph
  if (known?.graphVersion === change.since) {
    const parts = [...change.keys].map((key) => {
      const node = findByKey(graph.nodes, key)
      return [key, node && make(node)] as const
    })
    const services = withChanges(known.services, new Map(parts))
    return { services, version: {}, graphVersion, change: { since: known.version, keys: change.keys } }
  }
  const services = graph.nodes.map((node) => {
    const before = known && findByKey(known.services, node.key)
    return before?.node === node ? before : make(node)
  })
  return { services, version: {}, graphVersion, change: undefined }
}

/** The parts that two programs do not share. */
export function changedParts<P extends NodePart>(previous: Parts<P> | undefined, next: Parts<P>): PartChange<P>[] {
  const changes: PartChange<P>[] = []
  for (const key of keysToCompare(previous, next)) {
    const before = previous && findByKey(previous.services, key)
    const after = findByKey(next.services, key)
    if (before !== after) changes.push({ key, before, after })
  }
  return changes
}

function keysToCompare<P extends NodePart>(previous: Parts<P> | undefined, next: Parts<P>): Iterable<string> {
  if (previous && next.change?.since === previous.version) return next.change.keys
  return new Set([...(previous?.services ?? []), ...next.services].map(({ key }) => key))
}
