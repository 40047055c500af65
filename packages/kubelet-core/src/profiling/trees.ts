// V8's profiles as call trees. Pure.
import type { HeapProfiler, Profiler } from 'node:inspector'
import type { CallNode } from './pprof.ts'

/** Values: samples, and nanoseconds of CPU time. While nothing ran, none was used. */
export function cpuTree({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): CallNode {
  const all = new Map(
    nodes.map(({ id, callFrame }) => [
      id,
      { callFrame, values: [0, 0] as [number, number], children: [] as CallNode[] },
    ]),
  )
  samples.forEach((id, at) => {
    const node = all.get(id)
    if (!node || node.callFrame.functionName === '(idle)') return
    node.values[0] += 1
    node.values[1] += Math.max(0, timeDeltas[at] ?? 0) * 1000
  })
  for (const { id, children = [] } of nodes) {
    for (const child of children) {
      const [parent, node] = [all.get(id), all.get(child)]
      if (parent && node) parent.children.push(node)
    }
  }
  const root = all.get(nodes[0]?.id ?? 0)
  if (!root) throw new Error('the profile has no root')
  return root
}

/** Value: bytes. */
export function heapTree({ head }: HeapProfiler.SamplingHeapProfile): CallNode {
  const root: CallNode & { children: CallNode[] } = { callFrame: head.callFrame, values: [head.selfSize], children: [] }
  const waiting = [{ from: head, to: root }]
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    for (const from of next.from.children) {
      const to = { callFrame: from.callFrame, values: [from.selfSize], children: [] }
      next.to.children.push(to)
      waiting.push({ from, to })
    }
  }
  return root
}
