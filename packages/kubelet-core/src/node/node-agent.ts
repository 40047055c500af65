// This node in the API: registered, its status kept, its lease renewed.
import { isAlreadyExists, isNotFound, type KubeClient, nodes, strategicPatch } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { leaseRenewer } from './lease.ts'
import { nodeEvents } from './node-events.ts'
import { nodeLabels, nodeObject, type NodeObjectFacts } from './node-object.ts'
import { startPeriod } from './period.ts'
import { statusChanges } from './status-changes.ts'

export interface NodeAgentOptions {
  client: KubeClient
  /** Everything but what the agent remembers itself. */
  facts(): Promise<Omit<NodeObjectFacts, 'previous' | 'nowMs'>>
  nodeName: string
  /** How often the status is computed, in milliseconds. */
  statusMs: number
  /** How often it is told at least, in milliseconds. */
  reportMs: number
  /** How long the lease is good for; it is renewed four times as often. */
  leaseSeconds: number
  events: EventRecorder
  clock: Clock
  log: Logger
}

export interface NodeAgent {
  /** Begins to register, and goes on until it is; then keeps status and lease. */
  start(): void
  /** Fulfilled once the Node is in the API; rejected when closed before. */
  readonly registered: Promise<void>
  /** Something changed that the status tells: it is computed at once. */
  refresh(): void
  close(): Promise<void>
}

export function createNodeAgent(options: NodeAgentOptions): NodeAgent {
  const { client, facts, nodeName, statusMs, reportMs, leaseSeconds, events, clock, log } = options
  const registered = Promise.withResolvers<void>()
  registered.promise.catch(() => undefined) // who does not wait need not know
  const renewLease = leaseRenewer(client, nodeName, leaseSeconds)
  const onError = (what: string) => (error: unknown, ms: number) => log.warn({ err: error, again: ms }, `node: ${what}`)
  let node: Node | undefined
  let reportedMs = 0

  /** @returns whether the Node was there before: then its status is of another time */
  const register = async (signal: AbortSignal): Promise<boolean> => {
    const known = await facts()
    const wanted = nodeObject({ ...known, previous: [], nowMs: clock.now() })
    try {
      node = await client.create(nodes, wanted, { signal })
      tell(undefined, node)
      return false
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const there = await client.get(nodes, { name: nodeName }, { signal })
      node = await reconcile(there, wanted, nodeLabels(known), signal)
      return true
    } finally {
      if (node) registered.resolve()
    }
  }

  /** Own labels and annotations of a Node that exists already. */
  const reconcile = async (
    there: Node,
    wanted: Node,
    labels: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Node> => {
    const annotations = wanted.metadata?.annotations ?? {}
    const stale = Object.entries(labels).some(([key, value]) => there.metadata?.labels?.[key] !== value)
    const bare = Object.keys(annotations).some((key) => there.metadata?.annotations?.[key] === undefined)
    if (!stale && !bare) return there
    return client.patch(nodes, { name: nodeName }, strategicPatch({ metadata: { labels, annotations } }), { signal })
  }

  const report = async (signal: AbortSignal): Promise<void> => {
    if (!node && !(await register(signal))) return undefined
    if (!node) return undefined
    const previous = node.status?.conditions ?? []
    const { status = {} } = nodeObject({ ...(await facts()), previous, nowMs: clock.now() })
    const changed = statusChanges(node.status, status)
    if (!changed && clock.now() - reportedMs < reportMs) return undefined
    const patch = strategicPatch({ status: changed ?? { conditions: status.conditions } })
    const before = node
    try {
      node = await client.patch(nodes, { name: nodeName }, patch, { subresource: 'status', signal })
    } catch (error) {
      if (!isNotFound(error)) throw error
      // Removed behind our back: a node that runs is a node that is registered.
      node = undefined
      await register(signal)
      return undefined
    }
    reportedMs = clock.now()
    tell(before, node)
    return undefined
  }

  const tell = (before: Node | undefined, after: Node): void => {
    for (const event of nodeEvents(before, after)) events.recordNode(event)
  }

  const status = startPeriod({ ms: statusMs, run: report, clock, onError: onError('status') })
  const lease = startPeriod({
    ms: leaseSeconds * 250,
    run: async (signal) => renewLease(node?.metadata?.uid ?? '', clock.now(), signal),
    clock,
    onError: onError('lease'),
  })

  return {
    registered: registered.promise,
    start() {
      events.recordNode({ type: 'Normal', reason: 'Starting', message: 'Starting kubelet.' })
      status.now()
      // The lease belongs to the Node: it comes after it.
      registered.promise.then(lease.now, () => undefined)
    },
    refresh: () => status.now(),
    async close() {
      registered.reject(new Error(`the kubelet stopped before node ${nodeName} was registered`))
      await Promise.all([status.close(), lease.close()])
    },
  }
}
