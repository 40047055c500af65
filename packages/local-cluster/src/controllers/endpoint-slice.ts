// Keeps the EndpointSlices of Services.
import { endpointSlices, isAlreadyExists, isNotFound, matchesLabels, parseLabelSelector } from '@nodelet/kube-client'
import type { Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { managedByLabel, manager, serviceLabel, slicePlan, wantedSlices } from './slices.ts'

export function startEndpointSlices({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { services: serviceCache, pods: podCache, nodes: nodeCache, endpointSlices: sliceCache } = caches
  const selects = ({ metadata, spec }: Service, pod: Pod): boolean =>
    Boolean(spec?.selector) &&
    metadata?.namespace === pod.metadata?.namespace &&
    Object.entries(spec?.selector ?? {}).every(([key, value]) => pod.metadata?.labels?.[key] === value)

  const sync = async (key: string): Promise<void> => {
    const service = serviceCache.get(splitKey(key))
    if (
      !service?.spec?.selector ||
      Object.keys(service.spec.selector).length === 0 ||
      service.spec.type === 'ExternalName'
    )
      return
    const { name = '', namespace = '', uid = '' } = service.metadata ?? {}
    const mine = parseLabelSelector(`${serviceLabel}=${name},${managedByLabel}=${manager}`)
    const present = sliceCache
      .list()
      .filter((slice) => slice.metadata?.namespace === namespace && matchesLabels(mine, slice.metadata.labels))
    const selected = podCache.list().filter((pod) => selects(service, pod))
    const wanted = wantedSlices(service, selected, (node) => nodeCache.get({ name: node }))
    const { create, update, remove } = slicePlan(wanted, present)
    const labels = { ...service.metadata?.labels, [serviceLabel]: name, [managedByLabel]: manager }
    for (const one of create) {
      const owner = { apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true }
      const metadata = { generateName: `${name}-`, namespace, labels, ownerReferences: [owner] }
      const made: EndpointSlice = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata, ...one }
      await client.create(endpointSlices, made).catch((error: unknown) => {
        if (!isAlreadyExists(error)) throw error
      })
    }
    for (const { slice, wanted: content } of update) await client.update(endpointSlices, { ...slice, ...content })
    for (const slice of remove) {
      await client.delete(endpointSlices, { namespace, name: slice.metadata?.name ?? '' }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
    }
    // Until what was made is seen here, another run would make it again.
    if (create.length > 0) await sliceSeen(namespace, name, present.length)
  }
  /** Waits until the cache has more slices of a Service than before, or a second is over. */
  const sliceSeen = async (namespace: string, name: string, before: number): Promise<void> => {
    const seen = Promise.withResolvers<void>()
    const count = (): number =>
      sliceCache
        .list()
        .filter((slice) => slice.metadata?.namespace === namespace && slice.metadata.labels?.[serviceLabel] === name)
        .length
    const stop = sliceCache.subscribe({ added: () => count() > before && seen.resolve() })
    const timer = setTimeout(() => seen.resolve(), 1000)
    await seen.promise
    clearTimeout(timer)
    stop()
  }

  const queue = createQueue('endpointslice', sync, log)
  const ofPod = (pod: Pod): void =>
    serviceCache.list().forEach((service) => selects(service, pod) && queue.add(keyOf(service)))
  const stops = [
    serviceCache.subscribe({
      added: (service) => queue.add(keyOf(service)),
      updated: (service) => queue.add(keyOf(service)),
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
      deleted: ({ metadata }) => queue.add(`${metadata?.namespace ?? ''}/${metadata?.labels?.[serviceLabel] ?? ''}`),
    }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
