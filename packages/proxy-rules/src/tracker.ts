// Follows Services, EndpointSlices and the own Node in the API server.
import { endpointSlices, nodes, services, startInformer } from '@nodelet/kube-client'
import type { Informer, KubeClient, KubeObject } from '@nodelet/kube-client'
import type { Node, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { GraphInput } from './graph/service-graph.ts'
import type { Logger } from './log.ts'

/** What is known at a moment. */
export type Snapshot = Omit<GraphInput, 'family'>

export interface Tracker extends AsyncDisposable {
  /** Once Services and EndpointSlices have been listed. */
  readonly synced: Promise<void>
  snapshot(): Snapshot
}

export interface TrackerOptions {
  client: Pick<KubeClient, 'list' | 'watch'>
  nodeName: string
  log: Logger
  /** Called once both lists are there, and on each change after that. */
  onChange(): void
}

const zoneLabel = 'topology.kubernetes.io/zone'

export function startTracker({ client, nodeName, log, onChange }: TrackerOptions): Tracker {
  const onError = (error: unknown): void =>
    log.warn({ err: error }, 'following the API server failed: it is tried again')
  const serviceInformer = startInformer<Service>(client, services, {
    labelSelector: '!service.kubernetes.io/service-proxy-name',
    onError,
  })
  const sliceInformer = startInformer<EndpointSlice>(client, endpointSlices, {
    labelSelector: '!service.kubernetes.io/headless',
    onError,
  })
  const nodeInformer = startInformer<Node>(client, nodes, { fieldSelector: `metadata.name=${nodeName}`, onError })
  let ready = false
  const changed = (): void => {
    if (ready) onChange()
  }
  const synced = Promise.all([serviceInformer.synced, sliceInformer.synced]).then(() => {
    follow(serviceInformer, changed)
    follow(sliceInformer, changed)
    followZone(nodeInformer, changed)
    ready = true
    onChange()
  })
  // Who does not await it is told of failures by the log.
  synced.catch(() => {})
  return {
    synced,
    snapshot: () => ({
      services: serviceInformer.list(),
      endpointSlices: sliceInformer.list(),
      nodeName,
      zone: zoneOf(nodeInformer.get({ name: nodeName })),
    }),
    [Symbol.asyncDispose]: async () => {
      await Promise.all([serviceInformer.stop(), sliceInformer.stop(), nodeInformer.stop()])
    },
  }
}

function zoneOf(node: Node | undefined): string {
  return node?.metadata?.labels?.[zoneLabel] ?? ''
}

function follow<T extends KubeObject>(informer: Informer<T>, changed: () => void): void {
  informer.subscribe({ added: changed, updated: changed, deleted: changed })
}

/** A Node's status changes all the time; only its zone matters. */
function followZone(informer: Informer<Node>, changed: () => void): void {
  informer.subscribe({
    added: changed,
    updated: (node, previous) => {
      if (zoneOf(node) !== zoneOf(previous)) changed()
    },
  })
}
