// What all controllers look at: each collection is followed once.
import {
  certificateSigningRequests,
  deployments,
  endpointSlices,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  replicaSets,
  services,
  startInformer,
} from '@nodelet/kube-client'
import type { Informer, KubeClient } from '@nodelet/kube-client'
import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.d.ts'
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { Logger } from '../log.ts'

export interface Caches extends AsyncDisposable {
  nodes: Informer<Node>
  pods: Informer<Pod>
  services: Informer<Service>
  endpointSlices: Informer<EndpointSlice>
  replicaSets: Informer<ReplicaSet>
  deployments: Informer<Deployment>
  certificateSigningRequests: Informer<CertificateSigningRequest>
  persistentVolumes: Informer<PersistentVolume>
  persistentVolumeClaims: Informer<PersistentVolumeClaim>
}

/** What each controller works with. */
export interface ControllerContext {
  client: KubeClient
  caches: Caches
  log: Logger | undefined
}

/** Starts all caches and waits for their first lists. */
export async function openCaches(client: KubeClient, log: Logger | undefined): Promise<Caches> {
  await using opening = new AsyncDisposableStack()
  const onError = (error: unknown): void => log?.debug({ err: error }, 'controller watch failed')
  const caches = {
    nodes: opening.use(startInformer(client, nodes, { onError })),
    pods: opening.use(startInformer(client, pods, { onError })),
    services: opening.use(startInformer(client, services, { onError })),
    endpointSlices: opening.use(startInformer(client, endpointSlices, { onError })),
    replicaSets: opening.use(startInformer(client, replicaSets, { onError })),
    deployments: opening.use(startInformer(client, deployments, { onError })),
    certificateSigningRequests: opening.use(startInformer(client, certificateSigningRequests, { onError })),
    persistentVolumes: opening.use(startInformer(client, persistentVolumes, { onError })),
    persistentVolumeClaims: opening.use(startInformer(client, persistentVolumeClaims, { onError })),
  }
  await Promise.all(Object.values(caches).map(async ({ synced }) => synced))
  const opened = opening.move()
  return { ...caches, [Symbol.asyncDispose]: async () => opened.disposeAsync() }
}
