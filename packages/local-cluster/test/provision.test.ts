// Claims → volumes of a real driver, and what is decided on the way.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CsiError } from '@nodelet/csi-node'
import { createHostpathDriver } from '@nodelet/csi-node/hostpath'
import type { ServingDriver } from '@nodelet/csi-node/sdk'
import type { Node, PersistentVolume, PersistentVolumeClaim } from 'kubernetes-types/core/v1.d.ts'
import type { CSINode, StorageClass, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attacherFinalizer, attachmentTask, volumeError } from '../src/csi/attacher.ts'
import { driversIn } from '../src/csi/drivers.ts'
import type { ControllerDriver } from '../src/csi/drivers.ts'
import { parseParameters } from '../src/csi/parameters.ts'
import { deprovisionVolume, provisionerFinalizer, provisionVolume, sizeText } from '../src/csi/provision.ts'
import { deletingProvisioner, wantedProvisioner } from '../src/csi/provisioner.ts'
import { expandedStatus, expandingStatus, expansionOf, isNewExpansion } from '../src/csi/resizer.ts'
import { nodeAffinityOf, topologyRequirement } from '../src/csi/topology.ts'
import type { TopologyFacts } from '../src/csi/topology.ts'

const signal = AbortSignal.timeout(60_000)
const key = 'topology.hostpath.csi/node'
const name = 'hostpath.csi.k8s.io'
let folder = ''
let serving: ServingDriver
let driver: ControllerDriver

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'provision-'))
  serving = await createHostpathDriver({ stateDir: join(folder, 'data'), nodeId: 'one' }).serve({
    rootDir: folder,
    register: false,
  })
  const found = await driversIn(join(folder, 'plugins'))(name, signal)
  if (!found) throw new Error('the driver is not found')
  driver = found
})
afterAll(async () => {
  await serving.close()
  await rm(folder, { recursive: true, force: true })
})

const claim = (
  spec: PersistentVolumeClaim['spec'] = {},
  metadata: PersistentVolumeClaim['metadata'] = {},
): PersistentVolumeClaim => ({
  metadata: { name: 'data', namespace: 'ns', uid: 'u1', resourceVersion: '7', ...metadata },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '100Mi' } }, ...spec },
})
const volumeClass: StorageClass = { metadata: { name: 'folders' }, provisioner: name }
const volumes = async (): Promise<string[]> => readdir(join(folder, 'data/volumes'))
const noSecrets = async (): Promise<never> => Promise.reject(new Error('there is no secret'))

describe('a claim’s volume', () => {
  test('is made once, however often it is asked for; deleted it is gone, however often', async () => {
    const topology = { requisite: [{ [key]: 'one' }], preferred: [{ [key]: 'one' }] }
    const request = { claim: claim(), volumeClass, topology, readSecret: noSecrets }
    const made = await provisionVolume(driver, request, signal)
    expect(made).toEqual({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: {
        name: 'pvc-u1',
        annotations: {
          'pv.kubernetes.io/provisioned-by': name,
          'volume.kubernetes.io/provisioner-deletion-secret-name': '',
          'volume.kubernetes.io/provisioner-deletion-secret-namespace': '',
        },
        finalizers: [provisionerFinalizer],
      },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '100Mi' },
        claimRef: {
          kind: 'PersistentVolumeClaim',
          apiVersion: 'v1',
          namespace: 'ns',
          name: 'data',
          uid: 'u1',
          resourceVersion: '7',
        },
        persistentVolumeReclaimPolicy: 'Delete',
        storageClassName: 'folders',
        volumeMode: 'Filesystem',
        nodeAffinity: {
          required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: 'In', values: ['one'] }] }] },
        },
        csi: { driver: name, volumeHandle: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, volumeAttributes: {} },
      },
    })
    // As after a kill between the driver's answer and the PersistentVolume.
    expect(await provisionVolume(driver, request, signal)).toEqual(made)
    expect(await volumes()).toHaveLength(1)
    await deprovisionVolume(driver, made, noSecrets, signal)
    await deprovisionVolume(driver, made, noSecrets, signal)
    expect(await volumes()).toEqual([])
  })

  test('is not made when the driver can’t, or a secret is not there', async () => {
    const block = claim({ volumeMode: 'Block' }, { uid: 'u2' })
    const folders = { ...volumeClass, parameters: { backing: 'folder' } }
    await expect(
      provisionVolume(driver, { claim: block, volumeClass: folders, readSecret: noSecrets }, signal),
    ).rejects.toThrow('rpc error: code = InvalidArgument desc = parameters.backing folder: a block volume is an image')
    const parameters = {
      'csi.storage.k8s.io/provisioner-secret-name': 'a',
      'csi.storage.k8s.io/provisioner-secret-namespace': 'b',
    }
    const secret = {
      claim: claim({}, { uid: 'u3' }),
      volumeClass: { ...volumeClass, parameters },
      readSecret: noSecrets,
    }
    await expect(provisionVolume(driver, secret, signal)).rejects.toThrow('there is no secret')
    expect(await volumes()).toEqual([])
  })

  test('that came out too small is deleted', async () => {
    const small: ControllerDriver = {
      ...driver,
      controller: {
        ...driver.controller,
        createVolume: async (request, at) => driver.controller.createVolume({ ...request, requiredBytes: 5 }, at),
      },
    }
    const request = { claim: claim({}, { uid: 'u4' }), volumeClass, readSecret: noSecrets }
    await expect(provisionVolume(small, request, signal)).rejects.toThrow(
      'created volume capacity 5 less than requested capacity 104857600',
    )
    expect(await volumes()).toEqual([])
  })

  test.for(['../x', 'kubernetes.io/no-provisioner', 'gone.example.com', ''])('no driver %s', async (other) => {
    expect(await driversIn(join(folder, 'plugins'))(other, signal)).toBeUndefined()
  })
})

test.for<[bytes: number, text: string]>([
  [0, '0'],
  [1000, '1000'],
  [1024, '1Ki'],
  [1536 * 2 ** 20, '1536Mi'],
  [2 ** 40, '1Ti'],
])('%i bytes are %s', ([bytes, text]) => {
  expect(sizeText(bytes)).toBe(text)
})

describe('parameters of a class', () => {
  const secret = (kind: string, name: string, namespace: string): Record<string, string> => ({
    [`csi.storage.k8s.io/${kind}-secret-name`]: name,
    [`csi.storage.k8s.io/${kind}-secret-namespace`]: namespace,
  })
  const annotated = claim({}, { annotations: { team: 'blue' } })
  test('are the driver’s, or tell of file systems and secrets', () => {
    const given = {
      tier: 'gold',
      'csi.storage.k8s.io/fstype': 'xfs',
      ...secret('provisioner', '${pv.name}', '${pvc.namespace}'),
      ...secret('controller-publish', '${pvc.name}', 'fixed'),
      ...secret('controller-expand', 'a', 'b'),
      ...secret('node-stage', "of-${pvc.annotations['team']}", '${pvc.namespace}'),
      ...secret('node-publish', 'c', 'd'),
      ...secret('node-expand', 'e', 'f'),
    }
    expect(parseParameters(given, 'pvc-u1', annotated)).toEqual({
      parameters: { tier: 'gold' },
      fsType: 'xfs',
      secrets: {
        provisioner: { name: 'pvc-u1', namespace: 'ns' },
        controllerPublish: { name: 'data', namespace: 'fixed' },
        controllerExpand: { name: 'a', namespace: 'b' },
        nodeStage: { name: 'of-blue', namespace: 'ns' },
        nodePublish: { name: 'c', namespace: 'd' },
        nodeExpand: { name: 'e', namespace: 'f' },
      },
    })
  })
  test.for<[given: Record<string, string>, text: string]>([
    [{ 'csi.storage.k8s.io/fsType': 'ext4' }, 'found unknown parameter key "csi.storage.k8s.io/fsType"'],
    [
      { 'csi.storage.k8s.io/node-stage-secret-name': 'a' },
      'only one of node-stage-secret-name and node-stage-secret-namespace',
    ],
    [secret('provisioner', "${pvc.annotations['team']}", 'a'), "nothing is known for ${pvc.annotations['team']}"],
    [secret('node-stage', "${pvc.annotations['other']}", 'a'), 'nothing is known'],
    [secret('node-stage', 'a', '${pvc.name}'), 'nothing is known for ${pvc.name}'],
    [secret('node-stage', 'A b', 'c'), 'which is not a valid secret name'],
  ])('%j', ([given, text]) => {
    expect(() => parseParameters(given, 'pvc-u1', annotated)).toThrow(text)
  })
})

describe('topology', () => {
  const node = (name: string, labels: Record<string, string>): Node => ({ metadata: { name, labels } })
  const nodes = [node('a', { zone: 'z2', rack: '1' }), node('b', { zone: 'z1', rack: '1' }), node('c', { rack: '2' })]
  const csiNode = (name: string): CSINode => ({
    metadata: { name },
    spec: { drivers: [{ name: 'd', nodeID: name, topologyKeys: ['zone'] }] },
  })
  const facts: TopologyFacts = { driver: 'd', nodes, csiNodes: [csiNode('a'), csiNode('b')], allowed: [] }
  const allowed = [{ matchLabelExpressions: [{ key: 'zone', values: ['z3', 'z2'] }] }]
  const [z1, z2, z3] = [{ zone: 'z1' }, { zone: 'z2' }, { zone: 'z3' }]
  test.for<[name: string, more: Partial<TopologyFacts>, expected: object | string]>([
    ['all places that there are', {}, { requisite: [z1, z2], preferred: [z1, z2] }],
    ['that of the pod first', { selectedNode: 'a' }, { requisite: [z1, z2], preferred: [z2, z1] }],
    ['those of the class', { allowed }, { requisite: [z2, z3], preferred: [z2, z3] }],
    [
      'that of the pod among those of the class',
      { allowed, selectedNode: 'a' },
      { requisite: [z2, z3], preferred: [z2, z3] },
    ],
    [
      'the class does not allow where the pod is',
      { allowed, selectedNode: 'b' },
      'topology of selected node b is not among those that the class allows',
    ],
    ['no driver is there', { csiNodes: [] }, 'no available topology found'],
    ['no driver is where the pod is', { selectedNode: 'c' }, 'no topology key found for node c'],
    [
      'a node without its labels',
      { selectedNode: 'c', csiNodes: [csiNode('c')] },
      'topology labels from selected node c do not match topology keys from CSINode [zone]',
    ],
  ])('%s', ([, more, expected]) => {
    const ask = (): unknown => topologyRequirement({ ...facts, ...more })
    if (typeof expected === 'string') expect(ask).toThrow(expected)
    else expect(ask()).toEqual(expected)
  })
  test('of a volume that is everywhere there is none', () => {
    expect(nodeAffinityOf([])).toBeUndefined()
    expect(nodeAffinityOf([{}])).toBeUndefined()
  })
})

describe('who is asked', () => {
  const names = { 'volume.kubernetes.io/storage-provisioner': 'd' }
  const selected = { 'volume.kubernetes.io/selected-node': 'n' }
  const at: StorageClass = { provisioner: 'd' }
  const later: StorageClass = { provisioner: 'd', volumeBindingMode: 'WaitForFirstConsumer' }
  test.for<[name: string, of: PersistentVolumeClaim, its: StorageClass | undefined, expected: string | undefined]>([
    ['a claim that waits for it', claim({}, { annotations: names }), at, 'd'],
    ['one that nobody has told it yet', claim(), at, undefined],
    ['one of a class that has another now', claim({}, { annotations: names }), { provisioner: 'e' }, undefined],
    ['one without its class', claim({}, { annotations: names }), undefined, undefined],
    ['one that has a volume', claim({ volumeName: 'v' }, { annotations: names }), at, undefined],
    ['one that ends', claim({}, { annotations: names, deletionTimestamp: 'now' }), at, undefined],
    ['one that waits for a pod', claim({}, { annotations: names }), later, undefined],
    ['one with its pod', claim({}, { annotations: { ...names, ...selected } }), later, 'd'],
  ])('%s', ([, of, its, expected]) => {
    expect(wantedProvisioner(of, its)).toBe(expected)
  })

  const volume = (phase: string, spec: object = {}, metadata: object = {}): PersistentVolume => ({
    metadata: { annotations: { 'pv.kubernetes.io/provisioned-by': 'd' }, ...metadata },
    spec: { persistentVolumeReclaimPolicy: 'Delete', csi: { driver: 'd', volumeHandle: 'h' }, ...spec },
    status: { phase: phase as 'Bound' },
  })
  const ending = { deletionTimestamp: 'now', finalizers: [provisionerFinalizer] }
  test.for<[name: string, of: PersistentVolume, expected: string | undefined]>([
    ['released', volume('Released'), 'd'],
    ['failed', volume('Failed'), 'd'],
    ['bound', volume('Bound'), undefined],
    ['retained', volume('Released', { persistentVolumeReclaimPolicy: 'Retain' }), undefined],
    ['made by hand', volume('Released', {}, { annotations: {} }), undefined],
    [
      'deleted before it was bound',
      volume('Available', {}, { ...ending, annotations: { 'pv.kubernetes.io/provisioned-by': 'd' } }),
      'd',
    ],
    [
      'deleted while bound',
      volume('Bound', {}, { ...ending, annotations: { 'pv.kubernetes.io/provisioned-by': 'd' } }),
      undefined,
    ],
  ])('a volume that is %s', ([, of, expected]) => {
    expect(deletingProvisioner(of)).toBe(expected)
  })

  const attachment = (metadata: object, attached: boolean): VolumeAttachment => ({
    metadata,
    spec: { attacher: 'a.example.com', nodeName: 'n', source: {} },
    status: { attached },
  })
  const held = { finalizers: [attacherFinalizer('a.example.com')] }
  test.for<[name: string, of: VolumeAttachment, expected: string]>([
    ['wanted', attachment({}, false), 'attach'],
    ['there', attachment(held, true), 'nothing'],
    ['not wanted any more', attachment({ ...held, deletionTimestamp: 'now' }, true), 'detach'],
    ['never begun', attachment({ deletionTimestamp: 'now' }, false), 'nothing'],
  ])('an attachment that is %s', ([, of, expected]) => {
    expect(attachmentTask(of)).toBe(expected)
  })
  test('failures have gRPC’s numbers', () => {
    expect(attacherFinalizer('a.example.com')).toBe('external-attacher/a-example-com')
    expect(volumeError(new CsiError('RESOURCE_EXHAUSTED', 'full', 'uncertain'))).toMatchObject({
      message: 'full',
      errorCode: 8,
    })
    expect(volumeError(new Error('other'))).toEqual({ message: 'other', time: expect.any(String) })
  })
})

describe('expansion', () => {
  const pv = (storage: string): PersistentVolume => ({
    spec: { capacity: { storage }, csi: { driver: 'd', volumeHandle: 'h' } },
  })
  const wants = (storage: string, status: object): PersistentVolumeClaim => ({
    ...claim({ resources: { requests: { storage } } }),
    status: { phase: 'Bound', capacity: { storage: '1Gi' }, ...status },
  })
  const state = (storage: string, name: string): object => ({
    allocatedResources: { storage },
    allocatedResourceStatuses: { storage: name },
  })
  test.for<[name: string, of: PersistentVolumeClaim, its: PersistentVolume, expected: string]>([
    ['as large as wanted', wants('1Gi', {}), pv('1Gi'), 'nothing'],
    ['not bound', wants('2Gi', { phase: 'Pending' }), pv('1Gi'), 'nothing'],
    ['wanted', wants('2Gi', {}), pv('1Gi'), 'controller'],
    ['begun, and killed', wants('2Gi', state('2Gi', 'ControllerResizeInProgress')), pv('1Gi'), 'controller'],
    ['done, but for the claim', wants('2Gi', state('2Gi', 'ControllerResizeInProgress')), pv('2Gi'), 'controller'],
    ['the node’s', wants('2Gi', state('2Gi', 'NodeResizePending')), pv('2Gi'), 'nothing'],
    [
      'more is wanted than the node was to do',
      wants('3Gi', state('2Gi', 'NodeResizePending')),
      pv('2Gi'),
      'controller',
    ],
    ['not to be had', wants('9Gi', state('9Gi', 'ControllerResizeInfeasible')), pv('1Gi'), 'infeasible'],
    [
      'not to be had, less is wanted',
      wants('2Gi', state('9Gi', 'ControllerResizeInfeasible')),
      pv('1Gi'),
      'controller',
    ],
  ])('%s', ([, of, its, expected]) => {
    expect(expansionOf(of, its)).toBe(expected)
  })
  test('what is told of a failure is no reason to try at once', () => {
    const begun = (message: string): PersistentVolumeClaim =>
      wants('2Gi', {
        ...state('2Gi', 'ControllerResizeInProgress'),
        conditions: [{ type: 'Resizing', status: 'True', message }],
      })
    expect(isNewExpansion(begun('failed at 5'), begun('failed at 4'))).toBe(false)
    expect(isNewExpansion(begun(''), wants('2Gi', {}))).toBe(true)
    expect(isNewExpansion(wants('3Gi', {}), wants('2Gi', {}))).toBe(true)
    expect(isNewExpansion(wants('2Gi', {}), wants('2Gi', { phase: 'Pending' }))).toBe(true)
  })
  test('the status tells where it is, and keeps what is others’', () => {
    const other = { type: 'ModifyVolumeError', status: 'True' }
    const status = { phase: 'Bound' as const, capacity: { storage: '1Gi' }, conditions: [other] }
    const began = expandingStatus(status, '2Gi', 'ControllerResizeInProgress', { type: 'Resizing' })
    expect(began).toMatchObject({
      ...status,
      ...state('2Gi', 'ControllerResizeInProgress'),
      conditions: [other, { type: 'Resizing' }],
    })
    const pending = expandingStatus(began, '2Gi', 'NodeResizePending', { type: 'FileSystemResizePending' })
    expect(pending.conditions?.map(({ type }) => type)).toEqual(['ModifyVolumeError', 'FileSystemResizePending'])
    expect(expandedStatus(pending, '2Gi')).toEqual({
      phase: 'Bound',
      capacity: { storage: '2Gi' },
      allocatedResources: { storage: '2Gi' },
      conditions: [other],
    })
  })
})
