// Which ResourceClaims a pod needs, and whether it may use them. Pure.
import { defineResource, type KubeObject, type Resource } from '@nodelet/kube-client'
import type { Pod, PodResourceClaim } from 'kubernetes-types/core/v1.d.ts'
import type { ClaimInfo } from './state.ts'

/** What matters here. @see resource.k8s.io/v1 ResourceClaim */
export interface ResourceClaim extends KubeObject {
  status?: {
    /** Undefined until the scheduler has found devices. */
    allocation?: { devices?: { results?: { driver: string }[] } }
    /** Who may use it. */
    reservedFor?: { uid: string }[]
  }
}

export const resourceClaims: Resource<ResourceClaim> = defineResource({
  group: 'resource.k8s.io',
  version: 'v1',
  plural: 'resourceclaims',
  kind: 'ResourceClaim',
})

/** An entry of `spec.resourceClaims` with its claim. */
export interface NeededClaim {
  /** As containers call it. */
  entry: string
  /** Of the ResourceClaim, in the pod's namespace. */
  name: string
  /** Made from a template, for this pod alone. */
  isOwn: boolean
}

type ClaimEntry = PodResourceClaim & { resourceClaimName?: string; resourceClaimTemplateName?: string }

/** Without entries whose template came to no claim. @throws Error naming the pod: a claim is not there yet */
export function neededClaims(pod: Pod): NeededClaim[] {
  const entries: readonly ClaimEntry[] = pod.spec?.resourceClaims ?? []
  return entries.flatMap(({ name: entry, resourceClaimName, resourceClaimTemplateName }): NeededClaim[] => {
    if (resourceClaimName) return [{ entry, name: resourceClaimName, isOwn: false }]
    if (!resourceClaimTemplateName)
      throw new Error(`pod "${titleOf(pod)}", spec.resourceClaim "${entry}": none of the supported fields are set`)
    const made = pod.status?.resourceClaimStatuses?.find(({ name }) => name === entry)
    if (!made) throw new Error(`pod "${titleOf(pod)}": ResourceClaim not created yet`)
    return made.resourceClaimName ? [{ entry, name: made.resourceClaimName, isOwn: true }] : []
  })
}

const titleOf = ({ metadata }: Pod): string => `${metadata?.namespace}/${metadata?.name}`

/** The claim with its drivers, which have prepared nothing yet. @throws Error why the pod may not use it */
export function usableClaim(pod: Pod, { name, isOwn }: NeededClaim, { metadata, status }: ResourceClaim): ClaimInfo {
  const { uid = '', namespace = '', ownerReferences = [] } = metadata ?? {}
  const podUid = pod.metadata?.uid ?? ''
  if (isOwn && !ownerReferences.some((owner) => owner.controller && owner.uid === podUid)) {
    throw new Error(`ResourceClaim ${namespace}/${name} was not created for pod ${titleOf(pod)} (pod is not owner)`)
  }
  if (!status?.reservedFor?.some((consumer) => consumer.uid === podUid)) {
    throw new Error(`pod ${pod.metadata?.name} (${podUid}) is not allowed to use ResourceClaim ${name} (${uid})`)
  }
  if (!status.allocation) throw new Error(`ResourceClaim ${name}: not allocated`)
  const drivers = status.allocation.devices?.results?.map(({ driver }) => driver) ?? []
  return {
    uid,
    name,
    namespace,
    podUids: new Set(),
    drivers: new Map(drivers.map((driver) => [driver, []])),
    prepared: false,
  }
}
