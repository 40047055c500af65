// Keeps the EndpointSlices of Services.
import { endpointSlices, isNotFound, matchesLabels, parseLabelSelector } from '@nodelet/kube-client'
import type { Node, Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { managedByLabel, manager, serviceLabel, sliceLabels, slicePlan, wantedSlices } from './slices.ts'

/** What was made and is not seen for this long is not waited for. */
const expectedMs = 300_000
const zoneLabel = 'topology.kubernetes.io/zone'

export function startEndpointSlices({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { services: serviceCache, pods: podCache, nodes: nodeCache, endpointSlices: sliceCache } = caches
  const selects = ({ metadata, spec }: Service, pod: Pod): boolean =>
    Boolean(spec?.selector) &&
    metadata?.namespace === pod.metadata?.namespace &&
    Object.entries(spec?.selector ?? {}).every(([key, value]) => pod.metadata?.labels?.[key] === value)

  /** By Service: slices that were made (and when) and are not yet seen. Before that, none is made again. */
  const expected = new Map<string, Map<string, number>>()

  const isAwaited = (key: string, namespace: string): boolean => {
    const made = expected.get(key)
    for (const [name, since] of made ?? []) {
      if (sliceCache.get({ namespace, name }) || Date.now() - since > expectedMs) made?.delete(name)
    }
    if (made?.size === 0) expected.delete(key)
    return expected.has(key)
  }

  const sync = async (key: string): Promise<void> => {
    const service = serviceCache.get(splitKey(key))
    if (
      !service?.spec?.selector ||
      service.metadata?.deletionTimestamp ||
      Object.keys(service.spec.selector).length === 0 ||
      service.spec.type === 'ExternalName'
    )
      return
    const { name = '', namespace = '', uid = '' } = service.metadata ?? {}
    if (isAwaited(key, namespace)) return queue.addAfter(key, expectedMs)
    const mine = parseLabelSelector(`${serviceLabel}=${name},${managedByLabel}=${manager}`)
    const present = sliceCache
      .list()
      .filter((slice) => slice.metadata?.namespace === namespace && matchesLabels(mine, slice.metadata.labels))
    const selected = podCache.list().filter((pod) => selects(service, pod))
    const wanted = wantedSlices(service, selected, (node) => nodeCache.get({ name: node }))
    const labels = sliceLabels(service)
    const { create, update, remove } = slicePlan(wanted, present, labels)
    for (const one of create) {
      const owner = { apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true }
      const metadata = { generateName: `${name}-`, namespace, labels, ownerReferences: [owner] }
      const made: EndpointSlice = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata, ...one }
      const created = await client.create(endpointSlices, made)
      const seen = expected.get(key) ?? new Map<string, number>()
      expected.set(key, seen.set(created.metadata?.name ?? '', Date.now()))
    }
    for (const { slice, wanted: content } of update) {
      await client.update(endpointSlices, { ...slice, ...content, metadata: { ...slice.metadata, labels } })
    }
    for (const slice of remove) {
      await client.delete(endpointSlices, { namespace, name: slice.metadata?.name ?? '' }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
    }
    isAwaited(key, namespace)
  }

  const queue = createQueue('endpointslice', sync, log)
  const ofPod = (pod: Pod): void =>
    serviceCache.list().forEach((service) => selects(service, pod) && queue.add(keyOf(service)))
  const serviceKeyOf = ({ metadata }: EndpointSlice): string =>
    `${metadata?.namespace ?? ''}/${metadata?.labels?.[serviceLabel] ?? ''}`
  const ofSlice = (slice: EndpointSlice): void => queue.add(serviceKeyOf(slice))
  /** The zone of its pods may be another now. */
  const ofNode = ({ metadata }: Node): void =>
    podCache.list().forEach((pod) => pod.spec?.nodeName === metadata?.name && ofPod(pod))
  const stops = [
    serviceCache.subscribe({
      added: (service) => queue.add(keyOf(service)),
      updated: (service) => queue.add(keyOf(service)),
      deleted: (service) => expected.delete(keyOf(service)),
    }),
    podCache.subscribe({
      added: ofPod,
      updated: (pod, before) => {
        ofPod(before)
        ofPod(pod)
      },
      deleted: ofPod,
    }),
    sliceCache.subscribe({
      added: ofSlice,
      updated: (slice, before) => {
        if (before.metadata?.labels?.[serviceLabel] !== slice.metadata?.labels?.[serviceLabel]) ofSlice(before)
        ofSlice(slice)
      },
      deleted: (slice) => {
        expected.get(serviceKeyOf(slice))?.delete(slice.metadata?.name ?? '')
        ofSlice(slice)
      },
    }),
    nodeCache.subscribe({
      added: ofNode,
      updated: (node, before) => {
        if (node.metadata?.labels?.[zoneLabel] !== before.metadata?.labels?.[zoneLabel]) ofNode(node)
      },
      deleted: ofNode,
    }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
