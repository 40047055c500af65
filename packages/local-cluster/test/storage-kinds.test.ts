// Volumes, claims, classes and drivers as the API server takes, completes, refuses and prints them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { defaultClass } from '../src/api/volumes.ts'
import { startApi } from './api.ts'
import type { TestApi } from './api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(async () => api[Symbol.asyncDispose]())

/** What the tests look at in answers of all sorts. */
interface Body {
  code?: number
  message?: string
  spec: { storageClassName?: string; resources: { requests: { storage: string } } }
  status: { phase: string; lastPhaseTransitionTime: string }
  columnDefinitions: { name: string }[]
  rows: { cells: unknown[] }[]
  resources: { name: string; namespaced: boolean; shortNames?: string[] }[]
  components: { schemas: object }
}
const core = '/api/v1'
const storage = '/apis/storage.k8s.io/v1'
const pathOf: Readonly<Record<string, string>> = {
  PersistentVolume: `${core}/persistentvolumes`,
  PersistentVolumeClaim: `${core}/namespaces/default/persistentvolumeclaims`,
  Pod: `${core}/namespaces/default/pods`,
  StorageClass: `${storage}/storageclasses`,
  CSIDriver: `${storage}/csidrivers`,
  CSINode: `${storage}/csinodes`,
  VolumeAttachment: `${storage}/volumeattachments`,
  CSIStorageCapacity: `${storage}/namespaces/default/csistoragecapacities`,
}
const call = async (
  method: string,
  path: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<Body> => {
  const type = { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' }
  const { text } = await api.call({
    method,
    path,
    headers: { ...type, ...headers },
    ...(body && { body: JSON.stringify(body) }),
  })
  return JSON.parse(text) as Body
}
const create = async (kind: string, name: string, rest: object): Promise<Body> =>
  call('POST', pathOf[kind] ?? '', { metadata: { name }, ...rest })
const patch = async (kind: string, name: string, changes: object, subresource = ''): Promise<Body> =>
  call('PATCH', `${pathOf[kind]}/${name}${subresource}`, changes)

const volumeSpec = (more: object = {}): object => ({
  capacity: { storage: '1Gi' },
  accessModes: ['ReadWriteOnce'],
  hostPath: { path: '/srv/a' },
  ...more,
})
const claimSpec = (more: object = {}): object => ({
  accessModes: ['ReadWriteOnce'],
  resources: { requests: { storage: '1Gi' } },
  storageClassName: '',
  ...more,
})
const bind = async (name: string, capacity = '1Gi'): Promise<Body> =>
  patch('PersistentVolumeClaim', name, { status: { phase: 'Bound', capacity: { storage: capacity } } }, '/status')

describe('what is filled in', () => {
  test.for<[kind: string, given: object, made: object]>([
    [
      'PersistentVolume',
      { spec: volumeSpec(), status: { phase: 'Bound' } },
      {
        metadata: { finalizers: ['kubernetes.io/pv-protection'] },
        spec: { persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem', hostPath: { type: '' } },
        status: { phase: 'Pending', lastPhaseTransitionTime: expect.any(String) },
      },
    ],
    [
      'PersistentVolumeClaim',
      { spec: claimSpec({ dataSource: { kind: 'PersistentVolumeClaim', name: 'other' } }), status: { phase: 'Bound' } },
      {
        metadata: { finalizers: ['kubernetes.io/pvc-protection'] },
        spec: { volumeMode: 'Filesystem', dataSourceRef: { kind: 'PersistentVolumeClaim', name: 'other' } },
        status: { phase: 'Pending' },
      },
    ],
    ['StorageClass', { provisioner: 'x.io/y' }, { reclaimPolicy: 'Delete', volumeBindingMode: 'Immediate' }],
    [
      'CSIDriver',
      { spec: {} },
      {
        spec: {
          attachRequired: true,
          podInfoOnMount: false,
          volumeLifecycleModes: ['Persistent'],
          storageCapacity: false,
          fsGroupPolicy: 'ReadWriteOnceWithFSType',
          requiresRepublish: false,
          seLinuxMount: false,
        },
      },
    ],
    [
      'CSINode',
      { spec: { drivers: [{ name: 'd', nodeID: 'n' }] } },
      { spec: { drivers: [{ name: 'd', nodeID: 'n' }] } },
    ],
    [
      'VolumeAttachment',
      { spec: { attacher: 'd', nodeName: 'n', source: { persistentVolumeName: 'v' } }, status: { attached: true } },
      { status: { attached: false } },
    ],
    ['CSIStorageCapacity', { storageClassName: 'c', capacity: '1Gi' }, { storageClassName: 'c', capacity: '1Gi' }],
    [
      'Pod',
      {
        spec: {
          containers: [{ name: 'c', image: 'x' }],
          volumes: [{ name: 'v', ephemeral: { volumeClaimTemplate: { spec: claimSpec() } } }],
        },
      },
      {
        spec: {
          volumes: [
            { ephemeral: { volumeClaimTemplate: { spec: { volumeMode: 'Filesystem' } } } },
            { name: expect.stringContaining('kube-api-access-') },
          ],
        },
      },
    ],
  ])('%s', async ([kind, given, made]) => {
    expect(await create(kind, 'filled', given)).toMatchObject(made)
  })

  test('a phase that changes has its time, unless the writer tells it', async () => {
    await create('PersistentVolume', 'phases', { spec: volumeSpec() })
    const lastPhaseTransitionTime = '2020-01-02T03:04:05Z'
    const told = await patch(
      'PersistentVolume',
      'phases',
      { status: { phase: 'Available', lastPhaseTransitionTime } },
      '/status',
    )
    expect(told.status).toEqual({ phase: 'Available', lastPhaseTransitionTime })
    const { status } = await patch('PersistentVolume', 'phases', { status: { phase: 'Bound' } }, '/status')
    expect(status.phase).toBe('Bound')
    expect(Date.parse(status.lastPhaseTransitionTime)).toBeGreaterThan(Date.parse(lastPhaseTransitionTime))
    // The object itself has no way to its status.
    expect((await patch('PersistentVolume', 'phases', { status: { phase: 'Failed' } })).status.phase).toBe('Bound')
  })

  test('a claim without a class gets the newest default one; an empty class is none', async () => {
    const mark = { 'storageclass.kubernetes.io/is-default-class': 'true' }
    const unnamed = claimSpec({ storageClassName: undefined })
    expect(
      (await create('PersistentVolumeClaim', 'no-default', { spec: unnamed })).spec.storageClassName,
    ).toBeUndefined()
    await call('POST', pathOf.StorageClass ?? '', { metadata: { name: 'usual', annotations: mark }, provisioner: 'a' })
    expect((await create('PersistentVolumeClaim', 'default', { spec: unnamed })).spec.storageClassName).toBe('usual')
    expect((await create('PersistentVolumeClaim', 'none', { spec: claimSpec() })).spec.storageClassName).toBe('')
    await call('DELETE', `${pathOf.StorageClass}/usual`)
  })

  test.for<[name: string, classes: [name: string, second: number, mark?: string][], expected: string | undefined]>([
    ['none', [['a', 1]], undefined],
    [
      'one',
      [
        ['a', 1],
        ['b', 0, 'storageclass.kubernetes.io/is-default-class'],
      ],
      'b',
    ],
    ['by the beta annotation', [['a', 1, 'storageclass.beta.kubernetes.io/is-default-class']], 'a'],
    [
      'the newest, then by name',
      [
        ['old', 1, 'storageclass.kubernetes.io/is-default-class'],
        ['b', 2, 'storageclass.kubernetes.io/is-default-class'],
        ['a', 2, 'storageclass.kubernetes.io/is-default-class'],
      ],
      'a',
    ],
  ])('of default classes: %s', ([, classes, expected]) => {
    const objects = classes.map(([name, second, mark]) => ({
      metadata: {
        name,
        creationTimestamp: `2024-01-01T00:00:0${second}Z`,
        ...(mark !== undefined && { annotations: { [mark]: 'true' } }),
      },
    }))
    expect(defaultClass(objects)).toBe(expected)
  })
})

const modes = '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'

describe('what is refused', () => {
  test.for<[kind: string, given: object, message: string]>([
    [
      'PersistentVolume',
      { spec: { hostPath: { path: '/a' } } },
      '[spec.accessModes: Required value, spec.capacity: Required value]',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ hostPath: undefined }) },
      'spec: Required value: must specify a volume type',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ nfs: { server: 's', path: '/' } }) },
      'spec.nfs: Forbidden: may not specify more than 1 volume type',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ capacity: { storage: '0' } }) },
      'spec.capacity[storage]: Invalid value: "0": must be greater than zero',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ accessModes: ['Some'] }) },
      `spec.accessModes: Unsupported value: "Some": supported values: ${modes}`,
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ accessModes: ['ReadWriteOncePod', 'ReadOnlyMany'] }) },
      'spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ volumeMode: 'Tape' }) },
      'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ persistentVolumeReclaimPolicy: 'Burn' }) },
      'spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ hostPath: undefined, local: { path: '/d' } }) },
      'spec.nodeAffinity: Required value: Local volume requires node affinity',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ nodeAffinity: {} }) },
      'spec.nodeAffinity.required: Required value: must specify required node constraints',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ hostPath: { path: '/a/../b' } }) },
      'spec.hostPath.path: Invalid value: "/a/../b": must not contain \'..\'',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ hostPath: { path: '/' }, persistentVolumeReclaimPolicy: 'Recycle' }) },
      "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec({ hostPath: undefined, csi: { driver: '' } }) },
      '[spec.csi.driver: Required value, spec.csi.volumeHandle: Required value]',
    ],
    [
      'PersistentVolume',
      {
        spec: volumeSpec({
          hostPath: undefined,
          csi: { driver: 'd', volumeHandle: 'h', nodeStageSecretRef: { name: 's' } },
        }),
      },
      'spec.csi.nodeStageSecretRef.namespace: Required value',
    ],
    [
      'PersistentVolumeClaim',
      { spec: {} },
      '[spec.accessModes: Required value: at least 1 access mode is required, spec.resources[storage]: Required value]',
    ],
    [
      'PersistentVolumeClaim',
      { spec: claimSpec({ resources: { requests: { storage: '-1' } } }) },
      'spec.resources[storage]: Invalid value: "-1": must be greater than zero',
    ],
    [
      'PersistentVolumeClaim',
      { spec: claimSpec({ selector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }) },
      "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    ],
    [
      'PersistentVolumeClaim',
      { spec: claimSpec({ dataSource: { kind: 'Tape', name: 't' } }) },
      `[spec.dataSource: Invalid value: "Tape": must be 'PersistentVolumeClaim' when referencing the default apiGroup, spec.dataSourceRef: Invalid value: "Tape": must be 'PersistentVolumeClaim' when referencing the default apiGroup]`,
    ],
    ['StorageClass', {}, 'provisioner: Required value'],
    [
      'StorageClass',
      { provisioner: 'a', reclaimPolicy: 'Recycle' },
      'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
    ],
    [
      'StorageClass',
      { provisioner: 'a', volumeBindingMode: 'Soon' },
      'volumeBindingMode: Unsupported value: "Soon": supported values: "Immediate", "WaitForFirstConsumer"',
    ],
    [
      'CSIDriver',
      { spec: { fsGroupPolicy: 'All' } },
      'spec.fsGroupPolicy: Unsupported value: "All": supported values: "File", "None", "ReadWriteOnceWithFSType"',
    ],
    [
      'CSIDriver',
      { spec: { volumeLifecycleModes: ['Short'] } },
      'spec.volumeLifecycleModes: Unsupported value: "Short": supported values: "Ephemeral", "Persistent"',
    ],
    [
      'CSIDriver',
      { spec: { tokenRequests: [{ audience: 'a', expirationSeconds: 60 }, { audience: 'a' }] } },
      '[spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes, spec.tokenRequests[1].audience: Duplicate value: "a"]',
    ],
    [
      'CSIDriver',
      { spec: { nodeAllocatableUpdatePeriodSeconds: 9 } },
      'spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds',
    ],
    [
      'CSINode',
      { spec: { drivers: [{ name: 'x'.repeat(64), nodeID: '' }] } },
      '[spec.drivers[0].name: Too long: may not be more than 63 bytes, spec.drivers[0].nodeID: Required value]',
    ],
    [
      'VolumeAttachment',
      { spec: { attacher: 'd', nodeName: 'n', source: {} } },
      'spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName',
    ],
    [
      'CSIStorageCapacity',
      { storageClassName: 'c', capacity: '-1' },
      'capacity: Invalid value: "-1": must be greater than or equal to 0',
    ],
    [
      'Pod',
      {
        spec: {
          containers: [{ name: 'c', image: 'x' }],
          volumes: [{ name: 'v', persistentVolumeClaim: { claimName: '' } }],
        },
      },
      'spec.volumes[0].persistentVolumeClaim.claimName: Required value',
    ],
    [
      'Pod',
      { spec: { containers: [{ name: 'c', image: 'x' }], volumes: [{ name: 'v', ephemeral: {} }] } },
      'spec.volumes[0].ephemeral.volumeClaimTemplate: Required value',
    ],
  ])('%s %j', async ([kind, given, message]) => {
    const { code, message: told } = await create(kind, 'refused', given)
    const group = ['PersistentVolume', 'PersistentVolumeClaim', 'Pod'].includes(kind) ? '' : '.storage.k8s.io'
    expect({ code, told }).toEqual({ code: 422, told: `${kind}${group} "refused" is invalid: ${message}` })
  })

  test('amounts that are none', async () => {
    const { code } = await create('PersistentVolume', 'refused', {
      spec: volumeSpec({ capacity: { storage: 'much' } }),
    })
    expect(code).toBe(400)
  })
})

const frozenClaim =
  'spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims'

describe('what may not change', () => {
  const attachment = { attacher: 'd', nodeName: 'n', source: { persistentVolumeName: 'v' } }
  test.for<[kind: string, given: object, changes: object, message: string | undefined]>([
    [
      'PersistentVolume',
      { spec: volumeSpec() },
      { spec: { hostPath: { path: '/b' } } },
      'spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec() },
      { spec: { volumeMode: 'Block' } },
      'volumeMode: Invalid value: "Block": field is immutable',
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec() },
      { spec: { capacity: { storage: '2Gi' }, claimRef: { name: 'c' } } },
      undefined,
    ],
    [
      'PersistentVolume',
      { spec: volumeSpec() },
      { spec: { nodeAffinity: { required: { nodeSelectorTerms: [{}] } } } },
      undefined,
    ],
    ['PersistentVolumeClaim', { spec: claimSpec() }, { spec: { accessModes: ['ReadOnlyMany'] } }, frozenClaim],
    ['PersistentVolumeClaim', { spec: claimSpec() }, { spec: { storageClassName: 'fast' } }, frozenClaim],
    ['PersistentVolumeClaim', { spec: claimSpec() }, { spec: { volumeName: 'v' } }, undefined],
    ['PersistentVolumeClaim', { spec: claimSpec({ volumeName: 'v' }) }, { spec: { volumeName: 'w' } }, frozenClaim],
    [
      'PersistentVolumeClaim',
      { spec: claimSpec({ storageClassName: undefined }) },
      { spec: { storageClassName: 'fast' } },
      undefined,
    ],
    [
      'StorageClass',
      { provisioner: 'a' },
      { provisioner: 'b' },
      'provisioner: Forbidden: updates to provisioner are forbidden.',
    ],
    [
      'StorageClass',
      { provisioner: 'a' },
      { parameters: { a: 'b' } },
      'parameters: Forbidden: updates to parameters are forbidden.',
    ],
    [
      'StorageClass',
      { provisioner: 'a' },
      { volumeBindingMode: 'WaitForFirstConsumer' },
      'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable',
    ],
    ['StorageClass', { provisioner: 'a' }, { allowVolumeExpansion: true, mountOptions: ['ro'] }, undefined],
    [
      'CSIDriver',
      { spec: {} },
      { spec: { attachRequired: false } },
      'spec.attachedRequired: Invalid value: false: field is immutable',
    ],
    ['CSIDriver', { spec: {} }, { spec: { podInfoOnMount: true, fsGroupPolicy: 'File' } }, undefined],
    [
      'CSINode',
      { spec: { drivers: [{ name: 'd', nodeID: 'n' }] } },
      { spec: { drivers: [{ name: 'd', nodeID: 'm' }] } },
      'CSINodeDriver: Invalid value: {"name":"d","nodeID":"m"}: field is immutable',
    ],
    [
      'CSINode',
      { spec: { drivers: [{ name: 'd', nodeID: 'n' }] } },
      {
        spec: {
          drivers: [
            { name: 'd', nodeID: 'n', allocatable: { count: 3 } },
            { name: 'e', nodeID: 'n' },
          ],
        },
      },
      undefined,
    ],
    [
      'VolumeAttachment',
      { spec: attachment },
      { spec: { nodeName: 'm' } },
      'spec: Invalid value: {"attacher":"d","nodeName":"m","source":{"persistentVolumeName":"v"}}: field is immutable',
    ],
    [
      'CSIStorageCapacity',
      { storageClassName: 'c' },
      { storageClassName: 'd' },
      'storageClassName: Invalid value: "d": field is immutable',
    ],
  ])('%s %j %j', async ([kind, given, changes, message], { task }) => {
    const name = `fixed-${task.id.replaceAll('_', '-')}`.toLowerCase().replaceAll('--', '-')
    await create(kind, name, given)
    const { code, message: told } = await patch(kind, name, changes)
    const group = kind.startsWith('Pers') ? '' : '.storage.k8s.io'
    expect({ code, told }).toEqual(
      message === undefined
        ? { code: undefined, told: undefined }
        : { code: 422, told: `${kind}${group} "${name}" is invalid: ${message}` },
    )
  })

  test('only claims that are bound, of a class that allows it, may grow; none shrinks below what it has', async () => {
    const grow = async (name: string, storage: string): Promise<Body> =>
      patch('PersistentVolumeClaim', name, { spec: { resources: { requests: { storage } } } })
    await create('StorageClass', 'grows', { provisioner: 'a', allowVolumeExpansion: true })
    await create('StorageClass', 'stays', { provisioner: 'a' })
    for (const name of ['grows', 'stays']) {
      await create('PersistentVolumeClaim', `of-${name}`, { spec: claimSpec({ storageClassName: name }) })
    }
    expect((await grow('of-grows', '2Gi')).message).toContain(frozenClaim)
    await bind('of-grows')
    await bind('of-stays')
    expect(await grow('of-stays', '2Gi')).toMatchObject({
      code: 403,
      reason: 'Forbidden',
      message:
        'persistentvolumeclaims "of-stays" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
    })
    expect((await grow('of-grows', '2Gi')).spec.resources.requests.storage).toBe('2Gi')
    expect((await grow('of-grows', '1536Mi')).spec.resources.requests.storage).toBe('1536Mi')
    expect((await grow('of-grows', '1Gi')).message).toBe(
      'PersistentVolumeClaim "of-grows" is invalid: spec.resources.requests.storage: Forbidden: field can not be less than status.capacity',
    )
  })
})

test('tables', async () => {
  const accept = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' }
  const row = async (kind: string, name: string): Promise<Record<string, unknown>> => {
    const { columnDefinitions, rows } = await call('GET', `${pathOf[kind]}/${name}`, undefined, accept)
    const cells = rows[0]?.cells ?? []
    const named = columnDefinitions.map((column, index) => [column.name, cells[index]]) as [string, unknown][]
    return Object.fromEntries(named.filter(([column]) => column !== 'Age'))
  }
  const claimRef = { namespace: 'default', name: 'shown' }
  await create('PersistentVolume', 'shown', {
    spec: volumeSpec({ accessModes: ['ReadOnlyMany', 'ReadWriteOnce'], claimRef, storageClassName: 'fast' }),
  })
  expect(await row('PersistentVolume', 'shown')).toEqual({
    Name: 'shown',
    Capacity: '1Gi',
    'Access Modes': 'RWO,ROX',
    'Reclaim Policy': 'Retain',
    Status: 'Pending',
    Claim: 'default/shown',
    StorageClass: 'fast',
    VolumeAttributesClass: '<unset>',
    Reason: '',
    VolumeMode: 'Filesystem',
  })
  await create('PersistentVolumeClaim', 'shown', { spec: claimSpec({ volumeName: 'shown', storageClassName: 'fast' }) })
  await patch(
    'PersistentVolumeClaim',
    'shown',
    { status: { phase: 'Bound', capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] } },
    '/status',
  )
  await call('DELETE', `${pathOf.PersistentVolumeClaim}/shown`)
  expect(await row('PersistentVolumeClaim', 'shown')).toEqual({
    Name: 'shown',
    Status: 'Terminating',
    Volume: 'shown',
    Capacity: '1Gi',
    'Access Modes': 'RWO',
    StorageClass: 'fast',
    VolumeAttributesClass: '<unset>',
    VolumeMode: 'Filesystem',
  })
  const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' }
  await call('POST', pathOf.StorageClass ?? '', { metadata: { name: 'shown', annotations }, provisioner: 'a' })
  expect(await row('StorageClass', 'shown')).toEqual({
    Name: 'shown (default)',
    Provisioner: 'a',
    ReclaimPolicy: 'Delete',
    VolumeBindingMode: 'Immediate',
    AllowVolumeExpansion: false,
  })
  await create('CSIDriver', 'shown', { spec: { volumeLifecycleModes: ['Persistent', 'Ephemeral'] } })
  expect(await row('CSIDriver', 'shown')).toEqual({
    Name: 'shown',
    AttachRequired: true,
    PodInfoOnMount: false,
    StorageCapacity: false,
    TokenRequests: '<unset>',
    RequiresRepublish: false,
    Modes: 'Persistent,Ephemeral',
  })
  await create('CSINode', 'shown', { spec: { drivers: [{ name: 'd', nodeID: 'n' }] } })
  expect(await row('CSINode', 'shown')).toEqual({ Name: 'shown', Drivers: 1 })
  await create('VolumeAttachment', 'shown', {
    spec: { attacher: 'd', nodeName: 'n', source: { persistentVolumeName: 'v' } },
  })
  expect(await row('VolumeAttachment', 'shown')).toEqual({
    Name: 'shown',
    Attacher: 'd',
    PV: 'v',
    Node: 'n',
    Attached: false,
  })
  await create('CSIStorageCapacity', 'shown', { storageClassName: 'c', capacity: '1Gi' })
  expect(await row('CSIStorageCapacity', 'shown')).toEqual({ Name: 'shown', StorageClassName: 'c', Capacity: '1Gi' })
})

test('clients discover them', async () => {
  const { resources } = await call('GET', storage)
  expect(resources.map(({ name, namespaced, shortNames }) => [name, namespaced, shortNames?.[0]])).toEqual([
    ['csidrivers', false, undefined],
    ['csinodes', false, undefined],
    ['csistoragecapacities', true, undefined],
    ['storageclasses', false, 'sc'],
    ['volumeattachments', false, undefined],
    ['volumeattachments/status', false, undefined],
  ])
  const { components } = await call('GET', '/openapi/v3/apis/storage.k8s.io/v1')
  expect(components.schemas).toHaveProperty(['io.k8s.api.storage.v1.CSIDriverSpec', 'properties', 'attachRequired'])
})
