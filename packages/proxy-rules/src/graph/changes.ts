// Which Services differ between two graphs.
import type { ServiceGraph } from './service-graph.ts'

function byService({ nodes }: ServiceGraph): Map<string, string> {
  const texts = new Map<string, string>()
  for (const node of nodes) {
    const key = `${node.port.namespace}/${node.port.service}`
    texts.set(key, (texts.get(key) ?? '') + JSON.stringify(node))
  }
  return texts
}

/** `namespace/name` of the Services that `next` has otherwise than `previous`, or only one of them has. */
export function changedServices(previous: ServiceGraph, next: ServiceGraph): Set<string> {
  const before = byService(previous)
  const after = byService(next)
  const keys = new Set([...before.keys(), ...after.keys()])
  return new Set([...keys].filter((key) => before.get(key) !== after.get(key)))
}
