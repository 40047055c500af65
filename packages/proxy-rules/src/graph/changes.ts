// Which Services differ between two graphs.
import type { ServiceGraph, ServiceNode } from './service-graph.ts'

const serviceOf = ({ port }: ServiceNode): string => `${port.namespace}/${port.service}`

/** `namespace/name` of the Services that `next` has otherwise than `previous`, or only one of them has. */
export function changedServices(previous: ServiceGraph, next: ServiceGraph): Set<string> {
  if (next.change.since === previous.version)
    return new Set([...next.change.keys].map((key) => key.split('/', 2).join('/')))
  const before = new Map(previous.nodes.map((node) => [node.key, node]))
  const changed = new Set<string>()
  for (const node of next.nodes) {
    const old = before.get(node.key)
    before.delete(node.key)
    // A graph that was made from an earlier one has its nodes.
    if (old !== node && JSON.stringify(old) !== JSON.stringify(node)) changed.add(serviceOf(node))
  }
  for (const node of before.values()) changed.add(serviceOf(node))
  return changed
}
