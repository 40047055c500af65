// Follows Services, EndpointSlices and the own Node in the API server.
import { defineResource, endpointSlices, nodes, services, startInformer } from '@nodelet/kube-client'
import type { Informer, KubeClient, KubeObject } from '@nodelet/kube-client'
import type { Node, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { ServiceCIDR } from 'kubernetes-types/networking/v1alpha1.d.ts'
import type { GraphInput } from './graph/service-graph.ts'
import type { Logger } from './log.ts'
import { parseCidr } from './net/address.ts'

/** What is known at a moment. */
export interface Snapshot extends Omit<GraphInput, 'family'> {
  /** Where cluster IPs come from; none unless they are followed. */
  serviceCIDRs: readonly string[]
}

export interface Tracker extends AsyncDisposable {
  /** Once Services and EndpointSlices have been listed. */
  readonly synced: Promise<void>
  snapshot(): Snapshot
}

export interface TrackerOptions {
  client: Pick<KubeClient, 'list' | 'watch'>
  nodeName: string
  /** Follow ServiceCIDRs too; a server that knows none of them is no failure. */
  followServiceCIDRs: boolean
  log: Logger
  /** Called once both lists are there, and on each change after that. */
  onChange(): void
}

// In v1 since Kubernetes 1.33, as it was before.
const serviceCIDRs = defineResource<ServiceCIDR>({
  group: 'networking.k8s.io',
  version: 'v1',
  plural: 'servicecidrs',
  kind: 'ServiceCIDR',
  namespaced: false,
})
const zoneLabel = 'topology.kubernetes.io/zone'

export function startTracker(options: TrackerOptions): Tracker {
  const { client, nodeName, log, onChange } = options
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
  const rangeInformer = options.followServiceCIDRs
    ? startInformer(client, serviceCIDRs, { onError: onceOnly(log) })
    : undefined
  let ready = false
  const changed = (): void => {
    if (ready) onChange()
  }
  const synced = Promise.all([serviceInformer.synced, sliceInformer.synced]).then(() => {
    follow(serviceInformer, changed)
    follow(sliceInformer, changed)
    followZone(nodeInformer, changed)
    if (rangeInformer) follow(rangeInformer, changed)
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
      serviceCIDRs: rangesOf(rangeInformer?.list() ?? []),
    }),
    [Symbol.asyncDispose]: async () => {
      await Promise.all([serviceInformer.stop(), sliceInformer.stop(), nodeInformer.stop(), rangeInformer?.stop()])
    },
  }
}

/** Without ServiceCIDRs packets to unused cluster IPs are not dropped, and nothing else is wrong. */
function onceOnly(log: Logger): (error: unknown) => void {
  let told = false
  return (error) => {
    if (!told) log.info({ err: error }, 'ServiceCIDRs cannot be followed')
    told = true
  }
}

const rangesOf = (found: readonly ServiceCIDR[]): string[] =>
  [...new Set(found.flatMap(({ spec }) => spec?.cidrs ?? []).filter((text) => parseCidr(text)))].sort()

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
