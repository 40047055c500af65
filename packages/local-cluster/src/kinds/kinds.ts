// The kinds that this server has.

/** One resource of the API. */
export interface Kind {
  group: string
  version: string
  /** Plural, as in paths. */
  resource: string
  kind: string
  singular: string
  namespaced: boolean
  shortNames?: string[]
  categories?: string[]
  /** With the verbs that each has. */
  subresources: Readonly<Record<string, { kind: string; group?: string; version?: string; verbs: string[] }>>
  verbs: string[]
  /** Whether `metadata.generation` counts changes of the spec. */
  counted: boolean
}

const allVerbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']
const statusVerbs = ['get', 'patch', 'update']

function define(
  groupVersion: string,
  kind: string,
  more: Partial<Kind> & { hasStatus?: boolean; hasScale?: boolean } = {},
): Kind {
  const [group, version] = groupVersion.includes('/') ? groupVersion.split('/') : ['', groupVersion]
  const singular = kind.toLowerCase()
  const { hasStatus, hasScale, subresources = {}, ...rest } = more
  return {
    group: group ?? '',
    version: version ?? '',
    resource: `${singular}s`,
    kind,
    singular,
    namespaced: true,
    verbs: allVerbs,
    counted: false,
    ...rest,
    subresources: {
      ...subresources,
      ...(hasScale && { scale: { kind: 'Scale', group: 'autoscaling', version: 'v1', verbs: statusVerbs } }),
      ...(hasStatus && { status: { kind, verbs: statusVerbs } }),
    },
  }
}

const connect = (kind: string): { kind: string; verbs: string[] } => ({ kind, verbs: ['create', 'get'] })

/** In the order of discovery. */
export const kinds: readonly Kind[] = [
  define('v1', 'ConfigMap', { shortNames: ['cm'] }),
  define('v1', 'Event', { shortNames: ['ev'] }),
  define('v1', 'Namespace', { namespaced: false, shortNames: ['ns'], hasStatus: true }),
  define('v1', 'Node', {
    namespaced: false,
    shortNames: ['no'],
    hasStatus: true,
    subresources: {
      proxy: { kind: 'NodeProxyOptions', verbs: ['create', 'delete', 'get', 'patch', 'update'] },
    },
  }),
  define('v1', 'PersistentVolumeClaim', { shortNames: ['pvc'], hasStatus: true }),
  define('v1', 'PersistentVolume', { namespaced: false, shortNames: ['pv'], hasStatus: true }),
  define('v1', 'Pod', {
    shortNames: ['po'],
    categories: ['all'],
    hasStatus: true,
    counted: true,
    subresources: {
      attach: connect('PodAttachOptions'),
      binding: { kind: 'Binding', verbs: ['create'] },
      ephemeralcontainers: { kind: 'Pod', verbs: statusVerbs },
      eviction: { kind: 'Eviction', group: 'policy', version: 'v1', verbs: ['create'] },
      exec: connect('PodExecOptions'),
      log: { kind: 'Pod', verbs: ['get'] },
      portforward: connect('PodPortForwardOptions'),
      resize: { kind: 'Pod', verbs: statusVerbs },
    },
  }),
  define('v1', 'Secret'),
  define('v1', 'Service', { shortNames: ['svc'], categories: ['all'], hasStatus: true }),
  define('v1', 'ServiceAccount', {
    shortNames: ['sa'],
    subresources: {
      token: { kind: 'TokenRequest', group: 'authentication.k8s.io', version: 'v1', verbs: ['create'] },
    },
  }),
  define('apps/v1', 'Deployment', {
    shortNames: ['deploy'],
    categories: ['all'],
    hasStatus: true,
    hasScale: true,
    counted: true,
  }),
  define('apps/v1', 'ReplicaSet', {
    shortNames: ['rs'],
    categories: ['all'],
    hasStatus: true,
    hasScale: true,
    counted: true,
  }),
  define('authentication.k8s.io/v1', 'SelfSubjectReview', { namespaced: false, verbs: ['create'] }),
  define('authentication.k8s.io/v1', 'TokenReview', { namespaced: false, verbs: ['create'] }),
  define('authorization.k8s.io/v1', 'SelfSubjectAccessReview', { namespaced: false, verbs: ['create'] }),
  define('authorization.k8s.io/v1', 'SubjectAccessReview', { namespaced: false, verbs: ['create'] }),
  define('certificates.k8s.io/v1', 'CertificateSigningRequest', {
    namespaced: false,
    shortNames: ['csr'],
    hasStatus: true,
    subresources: { approval: { kind: 'CertificateSigningRequest', verbs: statusVerbs } },
  }),
  define('certificates.k8s.io/v1beta1', 'PodCertificateRequest', { hasStatus: true }),
  define('coordination.k8s.io/v1', 'Lease'),
  define('discovery.k8s.io/v1', 'EndpointSlice', { counted: true }),
  define('storage.k8s.io/v1', 'CSIDriver', { namespaced: false }),
  define('storage.k8s.io/v1', 'CSINode', { namespaced: false }),
  define('storage.k8s.io/v1', 'CSIStorageCapacity', { resource: 'csistoragecapacities' }),
  define('storage.k8s.io/v1', 'StorageClass', { resource: 'storageclasses', namespaced: false, shortNames: ['sc'] }),
  define('storage.k8s.io/v1', 'VolumeAttachment', { namespaced: false, hasStatus: true }),
]

export const groupVersionOf = ({ group, version }: Pick<Kind, 'group' | 'version'>): string =>
  group === '' ? version : `${group}/${version}`

/** The name under which the store has it. */
export const storeName = ({ group, resource }: Pick<Kind, 'group' | 'resource'>): string =>
  group === '' ? resource : `${resource}.${group}`

export const findKind = (group: string, version: string, resource: string): Kind | undefined =>
  kinds.find((one) => one.group === group && one.version === version && one.resource === resource)

/** @throws Error when there is none: for names that are in the code */
export function kindOf(resource: string): Kind {
  const found = kinds.find((one) => one.resource === resource)
  if (!found) throw new Error(`no resource ${resource}`)
  return found
}
