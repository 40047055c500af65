// What all controllers look at: each collection is followed once.
import {
  certificateSigningRequests,
  csiDrivers,
  csiNodes,
  deployments,
  endpointSlices,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  podCertificateRequests,
  pods,
  replicaSets,
  services,
  startInformer,
  storageClasses,
  volumeAttachments,
} from '@nodelet/kube-client'
import type { Informer, KubeClient, PodCertificateRequest } from '@nodelet/kube-client'
import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.d.ts'
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { CSIDriver, CSINode, StorageClass, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import type { Logger } from '../log.ts'

export interface Caches extends AsyncDisposable {
  nodes: Informer<Node>
  pods: Informer<Pod>
  services: Informer<Service>
  endpointSlices: Informer<EndpointSlice>
  replicaSets: Informer<ReplicaSet>
  deployments: Informer<Deployment>
  certificateSigningRequests: Informer<CertificateSigningRequest>
  podCertificateRequests: Informer<PodCertificateRequest>
  persistentVolumes: Informer<PersistentVolume>
  persistentVolumeClaims: Informer<PersistentVolumeClaim>
  storageClasses: Informer<StorageClass>
  csiDrivers: Informer<CSIDriver>
  csiNodes: Informer<CSINode>
  volumeAttachments: Informer<VolumeAttachment>
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
    podCertificateRequests: opening.use(startInformer(client, podCertificateRequests, { onError })),
    persistentVolumes: opening.use(startInformer(client, persistentVolumes, { onError })),
    persistentVolumeClaims: opening.use(startInformer(client, persistentVolumeClaims, { onError })),
    storageClasses: opening.use(startInformer(client, storageClasses, { onError })),
    csiDrivers: opening.use(startInformer(client, csiDrivers, { onError })),
    csiNodes: opening.use(startInformer(client, csiNodes, { onError })),
    volumeAttachments: opening.use(startInformer(client, volumeAttachments, { onError })),
  }
  await Promise.all(Object.values(caches).map(async ({ synced }) => synced))
  const opened = opening.move()
  return { ...caches, [Symbol.asyncDispose]: async () => opened.disposeAsync() }
}
