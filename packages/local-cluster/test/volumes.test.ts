// Claims, volumes and pods that need them, in a real cluster with a real CSI driver; the kubelet is played.
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDriver, CsiError } from '@nodelet/csi-node/sdk'
import type { ServingDriver } from '@nodelet/csi-node/sdk'
import {
  createKubeClient,
  csiDrivers,
  csiNodes,
  events,
  isNotFound,
  loadKubeconfig,
  mergePatch,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  secrets,
  storageClasses,
  volumeAttachments,
} from '@nodelet/kube-client'
import type { KubeClient, KubeObject, Resource } from '@nodelet/kube-client'
import type { PersistentVolume, PersistentVolumeClaim, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import type { StorageClass } from 'kubernetes-types/storage/v1.d.ts'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { driversIn, startCluster } from '../src/index.ts'
import type { Cluster } from '../src/index.ts'

const namespace = 'default'
const driverName = 'folders.example.com'
let folder = ''
let cluster: Cluster
let client: KubeClient
let serving: ServingDriver
/** What the driver was asked, by function. */
const asked: Record<string, object[]> = {}
const note = (name: string, request: object): void => void (asked[name] ??= []).push(request)
/** Makes the driver's next creations fail. */
let exhausted = 0
/** The driver makes the volume, and does not say so. */
let silent = false

const driver = createDriver({
  name: driverName,
  version: '1.0.0',
  hasTopology: true,
  node: {
    info: () => ({ nodeId: 'id-of-one', topology: { zone: 'a' } }),
    publish: () => undefined,
    unpublish: () => undefined,
    expand: ({ range }) => ({ capacityBytes: range.requiredBytes }),
  },
  controller: {
    clones: true,
    async create(request) {
      note('create', request)
      if (exhausted > 0) {
        exhausted -= 1
        throw new CsiError('RESOURCE_EXHAUSTED', 'no room')
      }
      await mkdir(join(folder, 'volumes', request.name), { recursive: true })
      if (silent) throw new CsiError('DEADLINE_EXCEEDED', 'slow')
      const [segments = {}] = request.topology?.preferred ?? []
      return {
        volumeId: request.name,
        capacityBytes: request.range.requiredBytes,
        volumeContext: { folder: request.name },
        topology: [segments],
      }
    },
    async delete(request) {
      note('delete', request)
      await rm(join(folder, 'volumes', request.volumeId), { recursive: true, force: true })
    },
    validate: () => undefined,
    publish(request) {
      note('attach', request)
      return { device: 'sda' }
    },
    unpublish: (request) => note('detach', request),
    expand(request) {
      note('expand', request)
      if (request.range.requiredBytes > 2 ** 40) throw new CsiError('OUT_OF_RANGE', 'too large')
      return {
        capacityBytes: request.range.requiredBytes,
        nodeExpansionRequired: request.range.requiredBytes > 2 ** 31,
      }
    },
  },
})

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'volumes-'))
  const kubelet = join(folder, 'kubelet')
  cluster = await startCluster({
    dataDir: join(folder, 'cluster'),
    port: 0,
    nodeName: 'one',
    nodeIPs: ['127.0.0.1'],
    drivers: driversIn(join(kubelet, 'plugins')),
  })
  client = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
  const labels = { zone: 'a', 'kubernetes.io/hostname': 'one' }
  await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'one', labels } })
  const conditions = [{ type: 'Ready', status: 'True' }]
  await client.patch(nodes, { name: 'one' }, mergePatch({ status: { conditions } }), { subresource: 'status' })
  for (const [name, more] of [
    ['static', { provisioner: 'kubernetes.io/no-provisioner', volumeBindingMode: 'WaitForFirstConsumer' }],
    ['slow', { provisioner: driverName, volumeBindingMode: 'WaitForFirstConsumer' }],
    ['fast', { provisioner: driverName, allowVolumeExpansion: true }],
    ['late', { provisioner: 'late.example.com' }],
  ] as [string, Partial<StorageClass>][]) {
    await client.create(storageClasses, classNamed(name, more))
  }
  // A claim may come before its driver.
  await claim('before', { storageClassName: 'fast' })
  await waitingFor(
    'before',
    "Waiting for a volume to be created either by the external provisioner 'folders.example.com'",
  )
  serving = await driver.serve({ rootDir: kubelet, register: false })
  const drivers = [{ name: driverName, nodeID: 'id-of-one', topologyKeys: ['zone'] }]
  await client.create(csiNodes, {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSINode',
    metadata: { name: 'one' },
    spec: { drivers },
  })
})
afterAll(async () => {
  await client.close()
  await cluster.close()
  await serving.close()
  await rm(folder, { recursive: true, force: true })
})

const eventually = async <T>(check: () => Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 20_000, interval: 20 })
const classNamed = (name: string, more: Partial<StorageClass>): StorageClass => ({
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name },
  provisioner: '',
  ...more,
})
const claim = async (
  name: string,
  spec: PersistentVolumeClaim['spec'],
  storage = '1Gi',
): Promise<PersistentVolumeClaim> =>
  client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage } }, ...spec },
  })
const volume = async (name: string, spec: PersistentVolume['spec'] = {}): Promise<PersistentVolume> =>
  client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name },
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, hostPath: { path: '/srv' }, ...spec },
  })
const pod = async (name: string, volumes: Volume[]): Promise<Pod> =>
  client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { containers: [{ name: 'main', image: 'x' }], volumes },
  })
const uses = (claimName: string): Volume[] => [{ name: 'data', persistentVolumeClaim: { claimName } }]
const claimNamed = async (name: string): Promise<PersistentVolumeClaim> =>
  client.get(persistentVolumeClaims, { namespace, name })
const volumeNamed = async (name: string): Promise<PersistentVolume> => client.get(persistentVolumes, { name })
const podNamed = async (name: string): Promise<Pod> => client.get(pods, { namespace, name })
const bound = async (name: string): Promise<PersistentVolumeClaim> =>
  eventually(async () => {
    const found = await claimNamed(name)
    expect(found.status?.phase).toBe('Bound')
    return found
  })
const gone = async (resource: Resource<KubeObject>, name: string): Promise<void> =>
  eventually(async () => {
    const ref = resource.namespaced ? { namespace, name } : { name }
    const found = await client.get(resource, ref).catch((error: unknown) => {
      if (isNotFound(error)) return undefined
      throw error
    })
    expect(found?.metadata).toBeUndefined()
  })
const messagesOf = async (name: string): Promise<string[]> =>
  (await client.list(events, { namespace, fieldSelector: `involvedObject.name=${name}` })).items.map(
    ({ reason, message }) => `${reason}: ${message}`,
  )
const waitingFor = async (name: string, text: string): Promise<void> =>
  eventually(async () => expect((await messagesOf(name)).join('\n')).toContain(text))
const refusal = async (name: string): Promise<string | undefined> =>
  (await podNamed(name)).status?.conditions?.find(({ type }) => type === 'PodScheduled')?.message
const refused = async (name: string, message: string): Promise<void> =>
  eventually(async () => expect(await refusal(name)).toBe(message))
const onNode = async (name: string): Promise<void> =>
  eventually(async () => expect((await podNamed(name)).spec?.nodeName).toBe('one'))
const removePod = async (name: string): Promise<void> =>
  void (await client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 }))

test('a claim and a volume find each other; the volume that is let go stays, or fails for want of a deleter', async () => {
  await claim('plain', { storageClassName: '' })
  await waitingFor('plain', 'FailedBinding: no persistent volumes available for this claim and no storage class is set')
  await volume('plain')
  const { spec, status, metadata } = await bound('plain')
  expect(spec?.volumeName).toBe('plain')
  expect(status).toMatchObject({ accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' } })
  expect(metadata?.annotations).toMatchObject({
    'pv.kubernetes.io/bind-completed': 'yes',
    'pv.kubernetes.io/bound-by-controller': 'yes',
  })
  const { metadata: own, spec: has } = await eventually(async () => {
    const found = await volumeNamed('plain')
    expect(found.status?.phase).toBe('Bound')
    return found
  })
  expect(own?.annotations).toEqual({ 'pv.kubernetes.io/bound-by-controller': 'yes' })
  expect(has?.claimRef).toMatchObject({ kind: 'PersistentVolumeClaim', namespace, name: 'plain', uid: metadata?.uid })
  // A volume whose claim has it is not gone at once.
  await client.delete(persistentVolumes, { name: 'plain' })
  await client.delete(persistentVolumeClaims, { namespace, name: 'plain' })
  await gone(persistentVolumes, 'plain')

  await volume('kept')
  await volume('failing', { persistentVolumeReclaimPolicy: 'Delete', storageClassName: 'other' })
  await claim('keeps', { volumeName: 'kept', storageClassName: '' })
  await claim('fails', { volumeName: 'failing', storageClassName: 'other' })
  await bound('keeps')
  await bound('fails')
  for (const name of ['keeps', 'fails']) await client.delete(persistentVolumeClaims, { namespace, name })
  await eventually(async () => {
    expect((await volumeNamed('kept')).status?.phase).toBe('Released')
    expect((await volumeNamed('failing')).status).toMatchObject({
      phase: 'Failed',
      message: 'error getting deleter volume plugin for volume "failing": no deletable volume plugin matched',
    })
  })
})

test('a claim that names a volume gets that one, if it fits; one whose volume is gone is lost', async () => {
  await volume('named', { storageClassName: 'other' })
  await claim('misfit', { volumeName: 'named', storageClassName: '' })
  await waitingFor('misfit', 'VolumeMismatch: Cannot bind to requested volume "named": storageClassName does not match')
  await claim('wanting', { volumeName: 'named', storageClassName: 'other' })
  await bound('wanting')
  expect((await claimNamed('wanting')).metadata?.annotations).not.toHaveProperty('pv.kubernetes.io/bound-by-controller')
  await claim('second', { volumeName: 'named', storageClassName: 'other' })
  await waitingFor('second', 'FailedBinding: volume "named" already bound to a different claim.')
  // Somebody takes away the finalizer that keeps it.
  await client.delete(persistentVolumes, { name: 'named' })
  await client.patch(persistentVolumes, { name: 'named' }, mergePatch({ metadata: { finalizers: null } }))
  await eventually(async () => expect((await claimNamed('wanting')).status?.phase).toBe('Lost'))
  await waitingFor('wanting', 'ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!')
  await pod('of-lost', uses('wanting'))
  await refused(
    'of-lost',
    '0/1 nodes are available: persistentvolumeclaim "wanting" bound to non-existent persistentvolume "named".',
  )
})

test('a claim that pods use stays until they are gone; pods wait for claims that are not there', async () => {
  await pod('early', uses('in-use'))
  await refused('early', '0/1 nodes are available: persistentvolumeclaim "in-use" not found.')
  await claim('in-use', { storageClassName: '' }, '5Mi')
  await refused('early', '0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.')
  await volume('for-pod', { capacity: { storage: '5Mi' }, claimRef: { namespace, name: 'in-use' } })
  await onNode('early')
  await client.delete(persistentVolumeClaims, { namespace, name: 'in-use' })
  await pod('later', uses('in-use'))
  await refused('later', '0/1 nodes are available: persistentvolumeclaim "in-use" is being deleted.')
  expect((await claimNamed('in-use')).metadata?.finalizers).toEqual(['kubernetes.io/pvc-protection'])
  await removePod('early')
  await gone(persistentVolumeClaims, 'in-use')
  await removePod('later')
})

test('a claim that waits for a pod is bound where the pod can have it', async () => {
  const onlyOn = (name: string): PersistentVolume['spec'] => ({
    storageClassName: 'static',
    nodeAffinity: {
      required: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [name] }] }],
      },
    },
  })
  await volume('elsewhere', onlyOn('two'))
  await claim('local', { storageClassName: 'static' })
  await waitingFor('local', 'WaitForFirstConsumer: waiting for first consumer to be created before binding')
  await pod('local', uses('local'))
  await refused('local', "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.")
  await volume('here', onlyOn('one'))
  await onNode('local')
  expect((await claimNamed('local')).spec?.volumeName).toBe('here')
  await claim('away', { storageClassName: 'static', volumeName: 'elsewhere' })
  await bound('away')
  await pod('away', uses('away'))
  await refused('away', "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.")
})

test('a claim that was there before its driver is provisioned when the driver comes', async () => {
  const { spec, metadata } = await bound('before')
  expect(spec?.volumeName).toBe(`pvc-${metadata?.uid}`)
  expect(metadata?.annotations).toMatchObject({
    'volume.kubernetes.io/storage-provisioner': driverName,
    'volume.beta.kubernetes.io/storage-provisioner': driverName,
  })
})

test('a claim is provisioned for its first pod, attached, detached and deleted with all that its class says', async () => {
  const stringData = { password: 'hunter2' }
  await client.create(secrets, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'of-demo', namespace },
    stringData,
  })
  const parameters = {
    tier: 'gold',
    'csi.storage.k8s.io/fstype': 'ext4',
    'csi.storage.k8s.io/provisioner-secret-name': 'of-${pvc.name}',
    'csi.storage.k8s.io/provisioner-secret-namespace': '${pvc.namespace}',
    'csi.storage.k8s.io/controller-publish-secret-name': 'of-demo',
    'csi.storage.k8s.io/controller-publish-secret-namespace': namespace,
  }
  const mountOptions = ['noatime']
  const volumeBindingMode = 'WaitForFirstConsumer' as const
  const full = { provisioner: driverName, parameters, mountOptions, volumeBindingMode }
  await client.create(storageClasses, classNamed('full', full))
  const { metadata } = await claim('demo', { storageClassName: 'full' })
  await pod('demo', uses('demo'))
  await onNode('demo')
  const name = `pvc-${metadata?.uid}`
  const { spec, metadata: own } = await volumeNamed(name)
  expect((await claimNamed('demo')).metadata?.annotations).toMatchObject({
    'volume.kubernetes.io/selected-node': 'one',
  })
  expect(asked['create']?.at(-1)).toMatchObject({
    name,
    range: { requiredBytes: 2 ** 30 },
    capabilities: [{ kind: 'mount', accessMode: 'SINGLE_NODE_WRITER', fsType: 'ext4', mountFlags: ['noatime'] }],
    parameters: { tier: 'gold' },
    secrets: { password: 'hunter2' },
    topology: { requisite: [{ zone: 'a' }], preferred: [{ zone: 'a' }] },
  })
  expect(own).toMatchObject({
    annotations: {
      'pv.kubernetes.io/provisioned-by': driverName,
      'volume.kubernetes.io/provisioner-deletion-secret-name': 'of-demo',
    },
    finalizers: expect.arrayContaining(['external-provisioner.volume.kubernetes.io/finalizer']),
  })
  expect(spec).toMatchObject({
    capacity: { storage: '1Gi' },
    persistentVolumeReclaimPolicy: 'Delete',
    storageClassName: 'full',
    mountOptions: ['noatime'],
    csi: { driver: driverName, volumeHandle: name, fsType: 'ext4', volumeAttributes: { folder: name } },
    nodeAffinity: {
      required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }] },
    },
  })
  await waitingFor('demo', `ProvisioningSucceeded: Successfully provisioned volume ${name}`)

  const [attachment] = await eventually(async () => {
    const all = (await client.list(volumeAttachments)).items.filter(
      (one) => one.spec.source.persistentVolumeName === name,
    )
    expect(all[0]?.status).toEqual({ attached: true, attachmentMetadata: { device: 'sda' } })
    return all
  })
  expect(attachment?.metadata?.name).toMatch(/^csi-[0-9a-f]{64}$/)
  expect(asked['attach']?.at(-1)).toMatchObject({
    volumeId: name,
    nodeId: 'id-of-one',
    secrets: { password: 'hunter2' },
  })
  const uniqueName = `kubernetes.io/csi/${driverName}^${name}`
  await eventually(async () =>
    expect((await client.get(nodes, { name: 'one' })).status?.volumesAttached).toContainEqual({
      name: uniqueName,
      devicePath: '',
    }),
  )
  // In use until the kubelet says that it is not.
  const inUse = async (volumesInUse: string[]): Promise<unknown> =>
    client.patch(nodes, { name: 'one' }, mergePatch({ status: { volumesInUse } }), { subresource: 'status' })
  await inUse([uniqueName])
  await removePod('demo')
  await client.delete(persistentVolumeClaims, { namespace, name: 'demo' })
  await eventually(async () => expect((await volumeNamed(name)).status?.phase).toBe('Released'))
  await waitingFor(name, `VolumeFailedDelete: persistentvolume ${name} is still attached to node one`)
  expect(asked['detach']).toBeUndefined()
  expect(existsSync(join(folder, 'volumes', name))).toBe(true)
  await inUse([])
  await gone(persistentVolumes, name)
  expect(asked['detach']?.at(-1)).toMatchObject({ volumeId: name, nodeId: 'id-of-one' })
  expect(asked['delete']?.at(-1)).toMatchObject({ volumeId: name, secrets: { password: 'hunter2' } })
  expect(existsSync(join(folder, 'volumes', name))).toBe(false)
  expect((await client.get(nodes, { name: 'one' })).status?.volumesAttached).toEqual([])
})

test('what a claim is to be a copy of is told when it is not there, has no volume, or one of another mode', async () => {
  const copyOf = (name: string) => ({ storageClassName: 'fast', dataSource: { kind: 'PersistentVolumeClaim', name } })
  await claim('copy-of-none', copyOf('none'))
  const failed = 'ProvisioningFailed: failed to provision volume with StorageClass "fast":'
  await waitingFor('copy-of-none', `${failed} persistentvolumeclaim "none" not found`)
  await claim('unbound', { storageClassName: 'late' })
  await claim('copy-of-unbound', copyOf('unbound'))
  await waitingFor('copy-of-unbound', `${failed} the source PVC unbound is not bound to a volume of a CSI driver`)
  await claim('raw-copy', { ...copyOf('unbound'), volumeMode: 'Block' })
  await waitingFor('raw-copy', `${failed} the source PVC unbound has volume mode Filesystem, and its copy Block`)
})

test('where there is no room the pod is scheduled anew', async () => {
  exhausted = 1
  await claim('cramped', { storageClassName: 'slow' })
  await pod('cramped', uses('cramped'))
  await waitingFor(
    'cramped',
    'ProvisioningFailed: failed to provision volume with StorageClass "slow": rpc error: code = ResourceExhausted desc = no room',
  )
  await onNode('cramped')
})

test('a volume of which the driver told nothing is deleted, though its claim is gone', async () => {
  silent = true
  const { metadata } = await claim('forgotten', { storageClassName: 'fast' })
  const made = join(folder, 'volumes', `pvc-${metadata?.uid}`)
  await waitingFor('forgotten', 'ProvisioningFailed')
  expect(existsSync(made)).toBe(true)
  await client.delete(persistentVolumeClaims, { namespace, name: 'forgotten' })
  await gone(persistentVolumeClaims, 'forgotten')
  silent = false
  await eventually(async () => expect(existsSync(made)).toBe(false))
  await gone(persistentVolumes, `pvc-${metadata?.uid}`)
})

test('drivers that attach nothing have no attachments', async () => {
  const name = 'free.example.com'
  await client.create(csiDrivers, {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name },
    spec: { attachRequired: false },
  })
  await client.create(persistentVolumes, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'free' },
    spec: {
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: '1Gi' },
      csi: { driver: name, volumeHandle: 'h' },
      claimRef: { namespace, name: 'free' },
    },
  })
  await claim('free', { storageClassName: '' })
  // Attached before, and in the same round of the controller.
  await claim('attached', { storageClassName: 'fast' })
  await bound('free')
  const { spec: attached } = await bound('attached')
  await pod('free', [...uses('free'), { name: 'other', persistentVolumeClaim: { claimName: 'attached' } }])
  await onNode('free')
  await eventually(async () => {
    const names = (await client.list(volumeAttachments)).items.map((one) => one.spec.source.persistentVolumeName)
    expect(names).toContain(attached?.volumeName)
    expect(names).not.toContain('free')
  })
})

test('an ephemeral volume is a claim of the pod, and nobody else’s', async () => {
  const ephemeral = (name: string): Volume[] => [
    {
      name,
      ephemeral: {
        volumeClaimTemplate: {
          metadata: { labels: { of: 'pod' } },
          spec: {
            accessModes: ['ReadWriteOnce'],
            storageClassName: 'fast',
            resources: { requests: { storage: '1Mi' } },
          },
        },
      },
    },
  ]
  const { metadata } = await pod('short', ephemeral('scratch'))
  await onNode('short')
  const made = await claimNamed('short-scratch')
  expect(made.metadata).toMatchObject({
    labels: { of: 'pod' },
    ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'short', uid: metadata?.uid, controller: true }],
  })
  await removePod('short')
  await gone(persistentVolumeClaims, 'short-scratch')
  await gone(persistentVolumes, made.spec?.volumeName ?? '')

  await claim('taken-scratch', { storageClassName: 'fast' })
  await pod('taken', ephemeral('scratch'))
  const why = 'PVC default/taken-scratch was not created for pod default/taken (pod is not owner)'
  await refused('taken', `0/1 nodes are available: ${why}.`)
  await waitingFor('taken', `FailedBinding: ephemeral volume scratch: ${why}`)
})

test('a claim grows: in the controller alone, or on the node as well; what can’t be is told', async () => {
  await claim('grows', { storageClassName: 'fast' })
  const { spec } = await bound('grows')
  const grow = async (storage: string): Promise<unknown> =>
    client.patch(
      persistentVolumeClaims,
      { namespace, name: 'grows' },
      mergePatch({ spec: { resources: { requests: { storage } } } }),
    )
  await grow('2Gi')
  await eventually(async () => expect((await claimNamed('grows')).status?.capacity?.storage).toBe('2Gi'))
  const done = await claimNamed('grows')
  expect(done.status).not.toHaveProperty('allocatedResourceStatuses')
  expect(done.metadata?.annotations).toMatchObject({ 'volume.kubernetes.io/node-expansion-not-required': 'true' })
  expect((await volumeNamed(spec?.volumeName ?? '')).spec?.capacity?.storage).toBe('2Gi')
  await grow('3Gi')
  await eventually(async () =>
    expect((await claimNamed('grows')).status).toMatchObject({
      capacity: { storage: '2Gi' },
      allocatedResources: { storage: '3Gi' },
      allocatedResourceStatuses: { storage: 'NodeResizePending' },
      conditions: [{ type: 'FileSystemResizePending', status: 'True' }],
    }),
  )
  expect((await volumeNamed(spec?.volumeName ?? '')).spec?.capacity?.storage).toBe('3Gi')
  await grow('2Ti')
  await eventually(async () =>
    expect((await claimNamed('grows')).status).toMatchObject({
      allocatedResourceStatuses: { storage: 'ControllerResizeInfeasible' },
      conditions: [{ type: 'ControllerResizeError', message: 'rpc error: code = OutOfRange desc = too large' }],
    }),
  )
})
