// This node in the API: registered, its status kept, its lease renewed.
import { isAlreadyExists, isNotFound, type KubeClient, nodes, strategicPatch } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { leaseRenewer } from './lease.ts'
import { nodeEvents } from './node-events.ts'
import { attachAnnotation, nodeLabels, nodeObject, type NodeObjectFacts } from './node-object.ts'
import { startPeriod } from './period.ts'
import { statusChanges, withForeign } from './status-changes.ts'

/** What happens with the Node: the API server is asked to make it, has made it, knows that it is ready. */
export type NodeStep = 'asked' | 'made' | 'ready'

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
  /** Told of each step of the Node, again and again. */
  stepped?(step: NodeStep): void
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
  /** The Node as the API server has it: what others made of its status is put right. */
  observe(node: Node): void
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
  let reporting = false

  /** @returns whether the Node was there before: then its status is of another time */
  const register = async (signal: AbortSignal): Promise<boolean> => {
    const known = await facts()
    const wanted = nodeObject({ ...known, previous: [], nowMs: clock.now() })
    try {
      options.stepped?.('asked')
      node = await client.create(nodes, wanted, { signal })
      options.stepped?.('made')
      tell(undefined, node)
      return false
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const there = await client.get(nodes, { name: nodeName }, { signal })
      node = await reconcile(there, wanted, nodeLabels({ ...known, labels: undefined }), signal)
      return true
    } finally {
      if (node) registered.resolve()
    }
  }

  /** Default labels and annotations of a Node that exists already: others are given at its creation only. */
  const reconcile = async (
    there: Node,
    wanted: Node,
    labels: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Node> => {
    const [is, shall] = [there, wanted].map(({ metadata }) => metadata?.annotations?.[attachAnnotation])
    const stale = Object.entries(labels).some(([key, value]) => there.metadata?.labels?.[key] !== value)
    if (!stale && is === shall) return there
    const annotations = { [attachAnnotation]: shall ?? null }
    return client.patch(nodes, { name: nodeName }, strategicPatch({ metadata: { labels, annotations } }), { signal })
  }

  const report = async (signal: AbortSignal): Promise<void> => {
    reporting = true
    try {
      await reportOnce(signal)
    } finally {
      reporting = false
    }
  }

  const reportOnce = async (signal: AbortSignal): Promise<void> => {
    if (!node && !(await register(signal))) return undefined
    if (!node) return undefined
    const previous = node.status?.conditions ?? []
    const own = nodeObject({ ...(await facts()), previous, nowMs: clock.now() })
    const status = withForeign(own.status ?? {}, node.status)
    const changed = statusChanges(node.status, status)
    if (!changed && clock.now() - reportedMs < reportMs) return undefined
    // Conditions of others are theirs to write.
    const conditions = own.status?.conditions
    const patch = strategicPatch({ status: { ...changed, conditions } })
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
    const isReady = after.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')
    if (isReady) options.stepped?.('ready')
    for (const event of nodeEvents(before, after)) events.recordNode(event)
  }

  /** Conditions are told of when they are written; here only what others may change beside. */
  const tellSpec = (before: Node, after: Node): void => {
    const bare = { ...after, ...(before.status && { status: before.status }) }
    for (const event of nodeEvents(before, bare)) events.recordNode(event)
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
    observe(there) {
      // Before it is registered, and while it is told, its status is of another time.
      if (!node || there.metadata?.uid !== node.metadata?.uid || reporting) return
      const [mine, its] = [node, there].map(({ metadata }) => Number(metadata?.resourceVersion))
      if (mine !== undefined && its !== undefined && its <= mine) return
      const foreign = statusChanges(there.status, node.status ?? {}) !== undefined
      const before = node
      node = there
      tellSpec(before, there)
      if (foreign) status.now()
    },
    async close() {
      registered.reject(new Error(`the kubelet stopped before node ${nodeName} was registered`))
      await Promise.all([status.close(), lease.close()])
    },
  }
}
