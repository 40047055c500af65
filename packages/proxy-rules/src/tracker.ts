// Follows Services, EndpointSlices and the own Node in the API server.
import {
  defineResource,
  endpointSlices,
  MalformedObjectError,
  nodes,
  services,
  startInformer,
} from '@nodelet/kube-client'
import type { Informer, KubeClient, KubeObject } from '@nodelet/kube-client'
import type { Node, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { ServiceCIDR } from 'kubernetes-types/networking/v1alpha1.d.ts'
import type { Place } from './graph/choice.ts'
import { serviceKey, sliceKey, type ServiceObjects } from './graph/service-graph.ts'
import { keptService, keptSlice } from './kept-objects.ts'
import type { Logger } from './log.ts'
import { parseCidr } from './net/address.ts'
import type { Steps } from './slices.ts'

/** What is known at a moment, as far as it changed. */
export interface Update extends Place {
  /** What Services have now that changed since the last update, or all of them when the place did, by {@link serviceKey}. */
  changes: ReadonlyMap<string, ServiceObjects>
  /** Where cluster IPs come from; none unless they are followed. */
  serviceCIDRs: readonly string[]
  /** When endpoints of these changes changed, as their slices say. */
  triggers: readonly Trigger[]
}

export interface Trigger {
  /** Of the slice: only the proxy of this family has its endpoints. */
  addressType: string
  /** By {@link sliceKey}. */
  service: string
  /** Milliseconds since the epoch. */
  at: number
}

/** Gives one reader what changed since it asked last: at first that is all. */
export interface Feed {
  /**
   * To be done in slices. What an object is when its turn comes is what is given; one that changes later, be it before the last
   * slice, is given the next time, as is all of this when it does not come to its end.
   */
  takeInTurn(): Steps<Update>
}

export interface Tracker extends AsyncDisposable {
  /** Once Services and EndpointSlices have been listed. */
  readonly synced: Promise<void>
  /** Whether load balancers may send to the node: it is known, and neither about to be deleted nor marked so by an autoscaler. */
  nodeEligible(): boolean
  openFeed(): Feed
}

export interface TrackerOptions {
  client: Pick<KubeClient, 'list' | 'watch'>
  nodeName: string
  /** Follow ServiceCIDRs too; a server that knows none of them is no failure. */
  followServiceCIDRs: boolean
  log: Logger
  /** Told of each change of an object. */
  changed?(kind: 'service' | 'endpoint', key: string): void
  /** Told of the Node as it comes and changes. */
  nodeChanged?(node: Node): void
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
  const onError = (error: unknown): void => {
    if (error instanceof MalformedObjectError)
      log.warn({ err: error }, 'an object that cannot be told from others is left out')
    else log.warn({ err: error }, 'following the API server failed: it is tried again')
  }
  const serviceInformer = startInformer<Service>(client, services, {
    labelSelector: '!service.kubernetes.io/service-proxy-name',
    fieldSelector: 'spec.clusterIP!=None',
    transform: keptService,
    onError,
  })
  const sliceInformer = startInformer<EndpointSlice>(client, endpointSlices, {
    labelSelector: '!service.kubernetes.io/headless',
    transform: keptSlice,
    onError,
  })
  const nodeInformer = startInformer<Node>(client, nodes, { fieldSelector: `metadata.name=${nodeName}`, onError })
  const rangeInformer = options.followServiceCIDRs
    ? startInformer(client, serviceCIDRs, { onError: onceOnly(log) })
    : undefined
  const { nodeChanged } = options
  if (nodeChanged) nodeInformer.subscribe({ added: nodeChanged, updated: nodeChanged })
  /** What happened before has not been waited for by this proxy. */
  const startedAt = Date.now()
  let ready = false
  const changed = (): void => {
    if (ready) onChange()
  }
  /** Keys of Services that changed, for each feed. */
  const marks: Set<string>[] = []
  /** Slice → when what it says now came to be, until it is taken; for each feed. */
  const triggers: Map<string, Trigger>[] = []
  const mark = (key: string): void => {
    for (const keys of marks) keys.add(key)
    changed()
  }
  /** By {@link serviceKey}: what has no proper name has a key of its own, too, and is told of. */
  const known = new Map<string, Service>()
  const slices = createSliceIndex()
  const all = (): string[] => [...known.keys(), ...slices.keys()]
  const markService = (service: Service, isThere = true): void => {
    const key = serviceKey(service)
    if (isThere) known.set(key, service)
    else known.delete(key)
    options.changed?.('service', key)
    mark(key)
  }
  const markSlice = (key: string): void => {
    options.changed?.('endpoint', key)
    mark(key)
  }
  const trigger = (slice: EndpointSlice, previous?: EndpointSlice): void => {
    const at = triggerOf(slice)
    if (!ready || at === undefined || at <= startedAt || at === triggerOf(previous)) return
    const { metadata, addressType } = slice
    for (const times of triggers)
      times.set(`${metadata?.namespace}/${metadata?.name}`, { addressType, at, service: sliceKey(slice) })
  }
  /** With a slice go the times of all that its Service has. */
  const forgetTriggers = (slice: EndpointSlice): void => {
    const { addressType } = slice
    const service = sliceKey(slice)
    for (const times of triggers)
      for (const [name, one] of times)
        if (one.service === service && one.addressType === addressType) times.delete(name)
  }
  // Before anything is listed: what is in the lists is then told in slices.
  serviceInformer.subscribe({
    added: (service) => markService(service),
    updated: (service) => markService(service),
    deleted: (service) => markService(service, false),
  })
  sliceInformer.subscribe({
    added: (slice) => {
      trigger(slice)
      markSlice(slices.put(slice))
    },
    updated: (slice, previous) => {
      trigger(slice, previous)
      // It may have gone from one Service to another.
      if (sliceKey(slice) !== sliceKey(previous)) markSlice(slices.remove(previous))
      markSlice(slices.put(slice))
    },
    deleted: (slice) => {
      forgetTriggers(slice)
      markSlice(slices.remove(slice))
    },
  })
  followZone(nodeInformer, changed)
  if (rangeInformer) follow(rangeInformer, changed)
  const synced = Promise.all([serviceInformer.synced, sliceInformer.synced]).then(() => {
    ready = true
    onChange()
  })
  // Who does not await it is told of failures by the log: Node would end the process for a rejection that nobody hears.
  synced.catch(() => {})
  return {
    synced,
    nodeEligible: () => isEligible(nodeInformer.get({ name: nodeName })),
    openFeed: () => {
      const keys = new Set(all())
      const times = new Map<string, Trigger>()
      marks.push(keys)
      triggers.push(times)
      let lastZone = ''
      return {
        *takeInTurn() {
          const zone = zoneOf(nodeInformer.get({ name: nodeName }))
          const taken = new Set(keys)
          const triggered = new Map(times)
          keys.clear()
          times.clear()
          let isDone = false
          try {
            if (zone !== lastZone) for (const key of all()) taken.add(key)
            const changes = new Map<string, ServiceObjects>()
            for (const key of taken) {
              changes.set(key, { service: known.get(key), slices: slices.of(key) })
              yield
            }
            isDone = true
            lastZone = zone
            const serviceCIDRs = rangesOf(rangeInformer?.list() ?? [])
            return { nodeName, zone, changes, serviceCIDRs, triggers: [...triggered.values()] }
          } finally {
            if (!isDone) {
              for (const key of taken) keys.add(key)
              for (const [slice, one] of triggered) if (!times.has(slice)) times.set(slice, one)
            }
          }
        },
      }
    },
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
  [...new Set(found.flatMap(({ spec }) => spec?.cidrs ?? []).filter((text) => parseCidr(text) !== undefined))].sort()

/** When the EndpointSlice controller saw what made it write the slice. */
function triggerOf(slice: EndpointSlice | undefined): number | undefined {
  const text: unknown = slice?.metadata?.annotations?.['endpoints.kubernetes.io/last-change-trigger-time']
  const ms = typeof text === 'string' ? Date.parse(text) : Number.NaN
  return Number.isNaN(ms) ? undefined : ms
}

function zoneOf(node: Node | undefined): string {
  const zone: unknown = node?.metadata?.labels?.[zoneLabel]
  return typeof zone === 'string' ? zone : ''
}

/** What the cluster autoscaler puts on a node before it removes it. */
const leavingTaint = 'ToBeDeletedByClusterAutoscaler'

function isEligible(node: Node | undefined): boolean {
  if (!node || node.metadata?.deletionTimestamp) return false
  const taints: unknown = node.spec?.taints
  return !Array.isArray(taints) || !taints.some((taint: { key?: unknown } | null) => taint?.key === leavingTaint)
}

function follow<T extends KubeObject>(informer: Informer<T>, changed: (object: T) => void): void {
  informer.subscribe({ added: changed, updated: changed, deleted: changed })
}

interface SliceIndex {
  /** Both return the key of the slice's Service. */
  put(slice: EndpointSlice): string
  remove(slice: EndpointSlice): string
  /** Slices of a Service. */
  of(key: string): readonly EndpointSlice[]
  /** Of Services that have slices. */
  keys(): Iterable<string>
}

/** Most Services have one slice, for which a map of its own would be most of the memory. */
type OwnSlices = EndpointSlice | Map<string, EndpointSlice>

function createSliceIndex(): SliceIndex {
  const found = new Map<string, OwnSlices>()
  const nameOf = ({ metadata }: EndpointSlice): string => `${metadata?.namespace}/${metadata?.name}`
  const mapOf = (own: OwnSlices | undefined): Map<string, EndpointSlice> => {
    if (own instanceof Map) return own
    return new Map(own ? [[nameOf(own), own]] : [])
  }
  return {
    put: (slice) => {
      const key = sliceKey(slice)
      const own = mapOf(found.get(key)).set(nameOf(slice), slice)
      found.set(key, own.size > 1 ? own : slice)
      return key
    },
    remove: (slice) => {
      const key = sliceKey(slice)
      const own = mapOf(found.get(key))
      own.delete(nameOf(slice))
      if (own.size > 0) found.set(key, own)
      else found.delete(key)
      return key
    },
    of: (key) => [...mapOf(found.get(key)).values()],
    keys: () => found.keys(),
  }
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
