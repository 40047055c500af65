// The ConfigMaps, Secrets and tokens that pods of this node refer to.
import type { TokenRequest } from 'kubernetes-types/authentication/v1.d.ts'
import type { ClusterTrustBundle } from 'kubernetes-types/certificates/v1alpha1.d.ts'
import type { ConfigMap, Pod, Secret, Service } from 'kubernetes-types/core/v1.d.ts'

/** An object that pods refer to. */
export interface ReferredObject {
  kind: 'ConfigMap' | 'Secret'
  namespace: string
  name: string
}

export type ChangingKind = ReferredObject['kind'] | 'ClusterTrustBundle'

/** Reads what pods refer to. A missing object is undefined; no answer from the API server throws. */
export interface ObjectSource {
  configMap(namespace: string, name: string, signal?: AbortSignal): Promise<ConfigMap | undefined>
  secret(namespace: string, name: string, signal?: AbortSignal): Promise<Secret | undefined>
  /** All Services, for the environment of containers. */
  services(signal?: AbortSignal): Promise<readonly Service[]>
  /** Those that are known by now, without waiting. */
  knownServices(): readonly Service[]
  /** All of the cluster. @throws Error unless the gate ClusterTrustBundleProjection is on */
  trustBundles(signal?: AbortSignal): Promise<readonly ClusterTrustBundle[]>
  /** A fresh token of a service account. */
  token(
    namespace: string,
    serviceAccount: string,
    spec: TokenRequest['spec'],
    signal?: AbortSignal,
  ): Promise<NonNullable<TokenRequest['status']>>
  /** After how long what was read is to be read again, in milliseconds; undefined: changes are told. */
  readonly rereadMs?: number | undefined
  /** What this pod refers to is read anew: it may have been made for it. */
  outdate?(pod: Pod): void
  /**
   * Calls back when an object that was read before has changed or gone, a ClusterTrustBundle once one was read; returns how to stop.
   * @param shown what is followed for as long as it is among these, read again or not; default: nothing
   */
  onChange(
    changed: (kind: ChangingKind, namespace: string, name: string) => void,
    shown?: () => Iterable<ReferredObject>,
  ): () => void
}
