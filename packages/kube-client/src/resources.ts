// Which resources there are: their names in paths and the types of their objects.

import type { DaemonSet, Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.d.ts'
import type { ClusterTrustBundle } from 'kubernetes-types/certificates/v1alpha1.d.ts'
import type { Lease } from 'kubernetes-types/coordination/v1.d.ts'
import type {
  ConfigMap,
  Event,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Secret,
  Service,
  ServiceAccount,
} from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.d.ts'
import type {
  CSIDriver,
  CSINode,
  CSIStorageCapacity,
  StorageClass,
  VolumeAttachment,
} from 'kubernetes-types/storage/v1.d.ts'
import type { PodCertificateRequest } from './pod-certificate-request.ts'

/** What every object of the API has. */
export interface KubeObject {
  apiVersion?: string
  kind?: string
  metadata?: ObjectMeta
}

/** A resource of the API and, as a type only, its objects. */
export interface Resource<T extends KubeObject> {
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  /** The name in paths, for instance `endpointslices`. */
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
  /** Never set: carries the type of the objects. */
  readonly object?: T
}

/** Which object. `namespace` is needed exactly when the resource is namespaced. */
export interface ObjectRef {
  name: string
  namespace?: string
}

/**
 * Names a resource that has no constant here, for instance one of a CustomResourceDefinition.
 * @example
 * const widgets = defineResource<Widget>({ group: 'example.com', version: 'v1', plural: 'widgets', kind: 'Widget' })
 */
export const defineResource = <T extends KubeObject = KubeObject>(names: {
  group: string
  version: string
  plural: string
  kind: string
  /** Default true. */
  namespaced?: boolean
}): Resource<T> => ({ namespaced: true, ...names })

const core = <T extends KubeObject>(plural: string, kind: string, namespaced = true): Resource<T> => ({
  group: '',
  version: 'v1',
  plural,
  kind,
  namespaced,
})
const v1 = <T extends KubeObject>(group: string, plural: string, kind: string, namespaced = true): Resource<T> =>
  defineResource<T>({ group, version: 'v1', plural, kind, namespaced })

export const pods: Resource<Pod> = core('pods', 'Pod')
export const nodes: Resource<Node> = core('nodes', 'Node', false)
export const services: Resource<Service> = core('services', 'Service')
export const configMaps: Resource<ConfigMap> = core('configmaps', 'ConfigMap')
export const secrets: Resource<Secret> = core('secrets', 'Secret')
export const namespaces: Resource<Namespace> = core('namespaces', 'Namespace', false)
export const serviceAccounts: Resource<ServiceAccount> = core('serviceaccounts', 'ServiceAccount')
export const events: Resource<Event> = core('events', 'Event')
export const persistentVolumes: Resource<PersistentVolume> = core('persistentvolumes', 'PersistentVolume', false)
export const persistentVolumeClaims: Resource<PersistentVolumeClaim> = core(
  'persistentvolumeclaims',
  'PersistentVolumeClaim',
)
export const endpointSlices: Resource<EndpointSlice> = v1('discovery.k8s.io', 'endpointslices', 'EndpointSlice')
export const certificateSigningRequests: Resource<CertificateSigningRequest> = defineResource({
  group: 'certificates.k8s.io',
  version: 'v1',
  plural: 'certificatesigningrequests',
  kind: 'CertificateSigningRequest',
  namespaced: false,
})
/** Of v1beta1, with the fields that v1alpha1 had. */
export const clusterTrustBundles: Resource<ClusterTrustBundle> = defineResource({
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  plural: 'clustertrustbundles',
  kind: 'ClusterTrustBundle',
  namespaced: false,
})
export const podCertificateRequests: Resource<PodCertificateRequest> = defineResource({
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  plural: 'podcertificaterequests',
  kind: 'PodCertificateRequest',
})
export const leases: Resource<Lease> = v1('coordination.k8s.io', 'leases', 'Lease')
export const deployments: Resource<Deployment> = v1('apps', 'deployments', 'Deployment')
export const replicaSets: Resource<ReplicaSet> = v1('apps', 'replicasets', 'ReplicaSet')
export const daemonSets: Resource<DaemonSet> = v1('apps', 'daemonsets', 'DaemonSet')
export const storageClasses: Resource<StorageClass> = v1('storage.k8s.io', 'storageclasses', 'StorageClass', false)
export const csiDrivers: Resource<CSIDriver> = v1('storage.k8s.io', 'csidrivers', 'CSIDriver', false)
export const csiNodes: Resource<CSINode> = v1('storage.k8s.io', 'csinodes', 'CSINode', false)
export const volumeAttachments: Resource<VolumeAttachment> = v1(
  'storage.k8s.io',
  'volumeattachments',
  'VolumeAttachment',
  false,
)
export const csiStorageCapacities: Resource<CSIStorageCapacity> = v1(
  'storage.k8s.io',
  'csistoragecapacities',
  'CSIStorageCapacity',
)

/** The `apiVersion` of a resource's objects, for instance `apps/v1`. */
export const apiVersionOf = (resource: Resource<KubeObject>): string =>
  resource.group === '' ? resource.version : `${resource.group}/${resource.version}`

/**
 * The path of a collection, an object or a subresource.
 * @throws TypeError when a namespace, a name or the object's name is missing, or given where there can be none
 */
export const pathOf = (
  resource: Resource<KubeObject>,
  at: { namespace?: string; name?: string; subresource?: string } = {},
): string => {
  if (!resource.namespaced && at.namespace !== undefined) {
    throw new TypeError(
      `${resource.plural} have no namespace, but ${JSON.stringify(at.namespace)} was given: leave it out`,
    )
  }
  if (resource.namespaced && at.name !== undefined && !at.namespace) {
    throw new TypeError(`${resource.plural} ${JSON.stringify(at.name)} needs a namespace: add it to the reference`)
  }
  if (at.name === '') throw new TypeError(`${resource.plural}: the object's name is empty`)
  if (at.subresource !== undefined && at.name === undefined) {
    throw new TypeError(`${resource.plural}/${at.subresource} needs the name of an object`)
  }
  const parts = [resource.group === '' ? '/api' : `/apis/${resource.group}`, resource.version]
  if (at.namespace !== undefined) parts.push('namespaces', segment(at.namespace))
  parts.push(resource.plural)
  if (at.name !== undefined) parts.push(segment(at.name))
  if (at.subresource !== undefined) parts.push(...at.subresource.split('/').map(segment))
  return parts.join('/')
}

/** One path segment: names that would climb out of the path are refused. */
const segment = (name: string): string => {
  if (name === '' || name === '.' || name === '..')
    throw new TypeError(`${JSON.stringify(name)} cannot stand in a path`)
  return encodeURIComponent(name)
}
