// How single ConfigMaps and Secrets are read: KubeletConfiguration `configMapAndSecretChangeDetectionStrategy`.
import type { KubeObject, Resource } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

export interface ObjectReader {
  /** Undefined when there is no such object. */
  read<T extends KubeObject>(
    resource: Resource<T>,
    namespace: string,
    name: string,
    signal?: AbortSignal,
  ): Promise<T | undefined>
  /** What this pod refers to is read anew: it may have been made for it. */
  outdate(pod: Pod): void
  /** Whether changes are told; else who wants to know reads again. */
  readonly tells: boolean
  close(): Promise<void>
}

/** An object that nobody read for so long is forgotten. */
export const idleMs = 300_000

/** Whether the pod names this ConfigMap or Secret anywhere: to look once too often does no harm. */
export function mayReferTo({ metadata, spec }: Pod, namespace: string, name: string): boolean {
  return metadata?.namespace === namespace && JSON.stringify(spec).includes(JSON.stringify(name))
}
