// Whether a pod fits on a node. Pure.
import { tolerates, wantsNode } from '@nodelet/kube-client'
import type { Container, Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import { quantity } from '../kinds/quantity.ts'
import { isOver } from './replicas.ts'

type Requests = Record<string, number>

const requestsOf = ({ resources }: Container): Requests =>
  Object.fromEntries(Object.entries(resources?.requests ?? {}).map(([name, value]) => [name, quantity(value)]))

function merge(a: Requests, b: Requests, how: (a: number, b: number) => number): Requests {
  const names = new Set([...Object.keys(a), ...Object.keys(b)])
  return Object.fromEntries([...names].map((name) => [name, how(a[name] ?? 0, b[name] ?? 0)]))
}
const plus = (a: Requests, b: Requests): Requests => merge(a, b, (x, y) => x + y)

/** What a pod needs: its containers and sidecars together, or an init container beside the sidecars started before it. */
export function podRequests({ spec }: Pod): Requests {
  let sidecars: Requests = {}
  let peak: Requests = {}
  for (const container of spec?.initContainers ?? []) {
    const own = plus(sidecars, requestsOf(container))
    if (container.restartPolicy === 'Always') sidecars = own
    peak = merge(peak, own, Math.max)
  }
  const main = (spec?.containers ?? []).map(requestsOf).reduce(plus, sidecars)
  const overhead = Object.entries(spec?.overhead ?? {}).map(([name, value]) => [name, quantity(value)] as const)
  return plus(merge(main, peak, Math.max), Object.fromEntries(overhead))
}

interface HostPort {
  ip: string
  protocol: string
  port: number
}

const hostPortsOf = ({ spec }: Pod): HostPort[] =>
  [
    ...(spec?.containers ?? []),
    ...(spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always'),
  ].flatMap(({ ports = [] }) =>
    ports.flatMap(({ hostPort, hostIP, protocol = 'TCP' }) =>
      hostPort ? [{ ip: hostIP || '0.0.0.0', protocol, port: hostPort }] : [],
    ),
  )

const collides = (a: HostPort, b: HostPort): boolean =>
  a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || a.ip === '0.0.0.0' || b.ip === '0.0.0.0')

/** Why the pod can't run on this node; undefined when it can. @param others pods that the node has */
export function misfit(pod: Pod, node: Node, others: readonly Pod[]): string | undefined {
  const tolerations = pod.spec?.tolerations ?? []
  if (node.spec?.unschedulable) return 'node(s) were unschedulable'
  const taint = (node.spec?.taints ?? []).find(
    (one) => one.effect !== 'PreferNoSchedule' && !tolerates(tolerations, one),
  )
  if (taint) return `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`
  if (!node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'))
    return 'node(s) were not ready'
  if (!wantsNode(pod, node)) return "node(s) didn't match Pod's node affinity/selector"
  const running = others.filter((other) => !isOver(other))
  const taken = running.flatMap(hostPortsOf)
  if (hostPortsOf(pod).some((port) => taken.some((other) => collides(port, other)))) {
    return "node(s) didn't have free ports for the requested pod ports"
  }
  const allocatable = node.status.allocatable ?? {}
  if (allocatable.pods !== undefined && running.length + 1 > quantity(allocatable.pods)) return 'Too many pods'
  const used = running.map(podRequests).reduce(plus, {})
  const lacking = Object.entries(podRequests(pod)).find(
    ([name, wanted]) => wanted > 0 && (used[name] ?? 0) + wanted > quantity(allocatable[name] ?? '0'),
  )
  return lacking && `Insufficient ${lacking[0]}`
}

/** As the scheduler's users know it. */
export function unschedulableMessage(nodeCount: number, reasons: readonly string[]): string {
  if (nodeCount === 0) return 'no nodes available to schedule pods'
  const counts = new Map<string, number>()
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  const texts = [...counts].map(([reason, count]) => `${count} ${reason}`).toSorted((a, b) => (a < b ? -1 : 1))
  return `0/${nodeCount} nodes are available: ${texts.join(', ')}.`
}
