// Objects of storage, each asked for when it is needed: kubelets may read those of their own pods one by one, and watch none.
import {
  csiDrivers,
  isNotFound,
  type KubeClient,
  type KubeObject,
  mergePatch,
  type ObjectRef,
  persistentVolumeClaims,
  persistentVolumes,
  type Resource,
  secrets,
  volumeAttachments,
} from '@nodelet/kube-client'
import type { PersistentVolume, PersistentVolumeClaim, Secret } from 'kubernetes-types/core/v1.d.ts'
import type { CSIDriver, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'

/** A missing object is undefined; no answer from the API server throws. */
export interface StorageObjects {
  claim(namespace: string, name: string, signal: AbortSignal): Promise<PersistentVolumeClaim | undefined>
  volume(name: string, signal: AbortSignal): Promise<PersistentVolume | undefined>
  driver(name: string, signal: AbortSignal): Promise<CSIDriver | undefined>
  attachment(name: string, signal: AbortSignal): Promise<VolumeAttachment | undefined>
  secret(namespace: string, name: string, signal: AbortSignal): Promise<Secret | undefined>
  /** @param status a merge patch @throws StatusError: also when the claim is not the one that was read any more */
  patchClaimStatus(claim: PersistentVolumeClaim, status: object, signal: AbortSignal): Promise<PersistentVolumeClaim>
}

export function createStorageObjects(client: Pick<KubeClient, 'get' | 'patch'>): StorageObjects {
  const read = async <T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, signal: AbortSignal) => {
    try {
      return await client.get(resource, ref, { signal })
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }
  return {
    claim: async (namespace, name, signal) => read(persistentVolumeClaims, { namespace, name }, signal),
    volume: async (name, signal) => read(persistentVolumes, { name }, signal),
    driver: async (name, signal) => read(csiDrivers, { name }, signal),
    attachment: async (name, signal) => read(volumeAttachments, { name }, signal),
    secret: async (namespace, name, signal) => read(secrets, { namespace, name }, signal),
    async patchClaimStatus({ metadata = {} }, status, signal) {
      const { name = '', namespace = '', uid, resourceVersion } = metadata
      const patch = mergePatch({ metadata: { uid, resourceVersion }, status })
      return client.patch(persistentVolumeClaims, { name, namespace }, patch, { subresource: 'status', signal })
    },
  }
}

const unable = async (): Promise<never> => {
  throw new Error('this kubelet has no API server')
}

/** Without an API there is nothing to refer to. */
export const noStorageObjects: StorageObjects = {
  claim: unable,
  volume: unable,
  driver: unable,
  attachment: unable,
  secret: unable,
  patchClaimStatus: unable,
}
