// Claims and what they are bound to; what CSINode and Node say of drivers.
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, test } from 'vitest'
import {
  boundVolume,
  checkAffinity,
  mountOptionsOf,
  volumeGroups,
  volumeOfClaim,
  wantedClaims,
} from '../../src/storage/claim.ts'
import { adopted, driverEntry, isOwn, newCsiNode, nodeChanges, withDriver } from '../../src/storage/csi-node-object.ts'
import { planVolumes } from '../../src/volume/plan.ts'
import { volumePath } from '../../src/volume/folders.ts'
import { pluginOf } from '../../src/volume/work.ts'

const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'uid-1' },
  spec: { containers: [{ name: 'c', volumeMounts: [{ name: 'v', mountPath: '/v' }] }], ...spec },
})
const claimed = (readOnly?: boolean): Pod =>
  pod({ volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c', ...(readOnly && { readOnly }) } }] })
const claim = (more: PersistentVolumeClaim = {}): PersistentVolumeClaim => ({
  metadata: { name: 'c', namespace: 'shop', uid: 'claim-1' },
  spec: { volumeName: 'pv' },
  status: { phase: 'Bound' },
  ...more,
})
const pv = (spec: PersistentVolume['spec'] = {}): PersistentVolume => ({
  metadata: { name: 'pv' },
  spec: { claimRef: { uid: 'claim-1' }, accessModes: ['ReadWriteOnce'], ...spec },
})
const wanted = { volume: 'v', name: 'c', readOnly: false, isEphemeral: false }
const unmounted = (): boolean => false

test.each([
  ['777', [777n]],
  ['0777', [511n]],
  ['0x1F', [31n]],
  ['6', []], // the pod has it
  ['', []],
  ['0', []],
  ['-5', []],
  ['staff', []],
  ['4294967296', []],
])('volumes that belong to group %j', (annotation, groups) => {
  const volume = { metadata: { name: 'pv', annotations: { 'pv.beta.kubernetes.io/gid': annotation } } }
  const one = pod({ securityContext: { supplementalGroups: [6] } })
  expect(volumeGroups(one, [volume, volume, { metadata: { name: 'other' } }])).toEqual(groups)
})

test('claims are those of volumes that containers use; one of a pod has its name', () => {
  const volumes = [
    { name: 'a', persistentVolumeClaim: { claimName: 'c', readOnly: true } },
    { name: 'b', ephemeral: {} },
    { name: 'unused', persistentVolumeClaim: { claimName: 'd' } },
    { name: 'other', emptyDir: {} },
  ]
  expect(wantedClaims(pod({ volumes }), (name) => name !== 'unused')).toEqual([
    { volume: 'a', name: 'c', readOnly: true, isEphemeral: false },
    { volume: 'b', name: 'web-b', readOnly: false, isEphemeral: true },
  ])
})

describe('a claim is refused in the words of the Go kubelet', () => {
  const deleted = claim({ ...claim(), metadata: { ...claim().metadata, deletionTimestamp: 'now' as never } })
  test.each<[string, PersistentVolumeClaim | undefined, boolean, string]>([
    ['missing', undefined, false, 'failed to fetch PVC from API server: persistentvolumeclaim "c" not found'],
    ['being deleted', deleted, false, 'PVC is being deleted'],
    ['pending', claim({ ...claim(), status: { phase: 'Pending' } }), false, 'PVC is not bound'],
    ['lost', claim({ ...claim(), status: { phase: 'Lost' } }), false, 'PVC is not bound'],
    ['without a volume', claim({ ...claim(), spec: {} }), false, 'PVC is not bound'],
    ['of another', claim(), true, 'PVC shop/c was not created for pod shop/web (pod is not owner)'],
  ])('%s', (_, object, isEphemeral, why) => {
    expect(() => volumeOfClaim(pod(), { ...wanted, isEphemeral }, object, unmounted)).toThrow(
      `error processing PVC shop/c: ${why}`,
    )
  })
  test('one on its way out goes on in pods that have it', () => {
    expect(volumeOfClaim(pod(), wanted, deleted, (name) => name === 'pv')).toBe('pv')
  })
  test('one that is protected goes on until its pods are gone', () => {
    const finalizers = ['kubernetes.io/pvc-protection']
    const metadata = { ...deleted.metadata, finalizers }
    expect(volumeOfClaim(pod(), wanted, { ...deleted, metadata }, unmounted)).toBe('pv')
  })
  test('one that the pod owns is its own', () => {
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'uid-1', controller: true }]
    const own = claim({ ...claim(), metadata: { ...claim().metadata, ownerReferences } })
    expect(volumeOfClaim(pod(), { ...wanted, isEphemeral: true }, own, unmounted)).toBe('pv')
  })
})

describe('a volume is refused', () => {
  test.each<[string, PersistentVolume | undefined, string]>([
    ['missing', undefined, 'failed to fetch PV pv from API server: persistentvolume "pv" not found'],
    [
      'of nobody',
      { metadata: { name: 'pv' }, spec: {} },
      'found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim',
    ],
    [
      'of another claim',
      pv({ claimRef: { uid: 'old' } }),
      'found PV object pv but its pv.Spec.ClaimRef.UID old does not point to claim.UID claim-1',
    ],
  ])('%s', (_, volume, why) => {
    expect(() => boundVolume(pod(), wanted, claim(), volume)).toThrow(`error processing PVC shop/c: ${why}`)
  })
  test('as a device where it is mounted, and the other way round', () => {
    expect(() => boundVolume(pod(), wanted, claim(), pv({ volumeMode: 'Block' }))).toThrow(
      'volume v has volumeMode Block, but is specified in volumeMounts',
    )
    const containers = [{ name: 'c', volumeDevices: [{ name: 'v', devicePath: '/dev/x' }] }]
    expect(() => boundVolume(pod({ containers }), wanted, claim(), pv())).toThrow(
      'volume v has volumeMode Filesystem, but is specified in volumeDevices',
    )
  })
})

const bound = (spec: PersistentVolume['spec'], readOnly = false) =>
  new Map([['v', { claim: claim(), volume: pv(spec), readOnly }]])

test.each<[string, PersistentVolume['spec'], object, string]>([
  [
    'csi',
    {
      csi: { driver: 'd', volumeHandle: 'h', fsType: 'ext4', nodeStageSecretRef: { namespace: 'n', name: 's' } },
      mountOptions: ['noatime', 'discard', 'noatime'],
    },
    {
      kind: 'csi',
      volume: {
        driver: 'd',
        volumeHandle: 'h',
        specName: 'pv',
        lifecycle: 'Persistent',
        volumeMode: 'Filesystem',
        fsType: 'ext4',
        accessModes: ['ReadWriteOnce'],
        // In the order that they have, for the driver to make sense of.
        mountOptions: ['noatime', 'discard', 'noatime'],
        readOnly: true,
        stageSecret: { namespace: 'n', name: 's' },
      },
    },
    'kubernetes.io/csi:d',
  ],
  [
    'local',
    { local: { path: '/disk' } },
    { kind: 'local', specName: 'pv', path: '/disk', readOnly: true },
    'kubernetes.io/local-volume',
  ],
  [
    'nfs',
    { nfs: { server: 's', path: '/p' }, mountOptions: ['hard'] },
    { kind: 'nfs', specName: 'pv', server: 's', path: '/p', readOnly: true, mountOptions: ['hard'] },
    'kubernetes.io/nfs',
  ],
  ['hostPath', { hostPath: { path: '/p' } }, { kind: 'hostPath', path: '/p', type: '' }, 'kubernetes.io/host-path'],
])('a volume of kind %s is planned', (_, spec, plan, plugin) => {
  const [found] = planVolumes(claimed(true), 1n, bound(spec, true))
  expect(found).toMatchObject({ name: 'v', ...plan })
  expect(found && pluginOf(found)).toBe(plugin)
})

test('folders of the pod are named for the PersistentVolume', () => {
  const paths = [{ local: { path: '/d' } }, { nfs: { server: 's', path: '/' } }].map((spec) => {
    const [plan] = planVolumes(claimed(), 1n, bound(spec))
    return plan && plan.kind !== 'csi' && volumePath('/k', 'uid-1', plan)
  })
  const folder = '/k/pods/uid-1/volumes/kubernetes.io~'
  expect(paths).toEqual([`${folder}local-volume/pv`, `${folder}nfs/pv`])
})

test('inline volumes of drivers and servers are planned; other kinds of PersistentVolumes are refused by name', () => {
  const csi = { driver: 'd', nodePublishSecretRef: { name: 's' } }
  const [inline] = planVolumes(pod({ volumes: [{ name: 'v', csi }] }), 1n)
  expect(inline).toMatchObject({
    kind: 'csi',
    volume: {
      lifecycle: 'Ephemeral',
      specName: 'v',
      accessModes: ['ReadWriteOnce'],
      publishSecret: { namespace: 'shop', name: 's' },
      volumeHandle: expect.stringMatching(/^csi-[0-9a-f]{64}$/) as string,
    },
  })
  const nfs = { server: 's', path: '/p', readOnly: true }
  expect(planVolumes(pod({ volumes: [{ name: 'v', nfs }] }), 1n)).toEqual([
    { kind: 'nfs', name: 'v', specName: 'v', server: 's', path: '/p', readOnly: true, mountOptions: [] },
  ])
  const iscsi = { targetPortal: '10.0.0.1', iqn: 'iqn.2026-01.example:disk', lun: 1, secretRef: { name: 's' } }
  expect(planVolumes(claimed(), 1n, bound({ iscsi, mountOptions: ['discard'] }))).toMatchObject([
    {
      kind: 'scsi',
      specName: 'pv',
      attachName: 'kubernetes.io/iscsi/10.0.0.1:iqn.2026-01.example:disk:1',
      secret: { name: 's' },
      mountOptions: ['discard'],
    },
  ])
  expect(() => planVolumes(claimed(), 1n, bound({ flexVolume: { driver: 'a/b' } }))).toThrow(
    'volume "v": PersistentVolume pv is of kind flexVolume, which is not supported: use csi, local, nfs, hostPath, iscsi or fc',
  )
})

test('mount options are a sorted set, of old in an annotation; affinity has to take the node', () => {
  const old = { metadata: { annotations: { 'volume.beta.kubernetes.io/mount-options': 'ro,hard' } } }
  expect([mountOptionsOf(old), mountOptionsOf(pv())]).toEqual([['hard', 'ro'], []])
  const node: Node = { metadata: { name: 'n', labels: { zone: 'a' } } }
  const zone = (value: string) =>
    pv({
      nodeAffinity: {
        required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: [value] }] }] },
      },
    })
  expect(() => checkAffinity(zone('a'), node)).not.toThrow()
  expect(() => checkAffinity(zone('b'), node)).toThrow('no matching NodeSelectorTerms')
  expect(() => checkAffinity(pv(), node)).not.toThrow()
})

describe('CSINode', () => {
  const fresh = newCsiNode('n', 'node-uid')
  const info = { nodeId: 'i-1', maxVolumesPerNode: 0, topology: { b: '1', a: '2' } }

  test('is owned by its Node; one of another Node is not its own', () => {
    expect(isOwn(fresh, 'node-uid')).toBe(true)
    expect(isOwn(fresh, 'other')).toBe(false)
    expect(adopted(fresh, 'n', 'node-uid')).toBeUndefined()
    const bare = { metadata: { name: 'n', resourceVersion: '7' }, spec: { drivers: [driverEntry('d', info)] } }
    expect(adopted(bare, 'n', 'node-uid')).toEqual({
      metadata: { ...fresh.metadata, resourceVersion: '7' },
      spec: bare.spec,
    })
  })

  test('has drivers with sorted keys, and a count when there is a limit', () => {
    const entry = driverEntry('d', info)
    expect(entry).toEqual({ name: 'd', nodeID: 'i-1', topologyKeys: ['a', 'b'] })
    expect(driverEntry('d', { ...info, maxVolumesPerNode: 3 }).allocatable).toEqual({ count: 3 })
    const one = withDriver(fresh, 'd', entry)
    expect(one?.spec.drivers).toEqual([entry])
    expect(one && withDriver(one, 'd', entry)).toBeUndefined()
    expect(one && withDriver(one, 'd', { ...entry, nodeID: 'i-2' })?.spec.drivers).toHaveLength(1)
    expect(one && withDriver(one, 'd', undefined)?.spec.drivers).toEqual([])
    expect(withDriver(fresh, 'd', undefined)).toBeUndefined()
  })

  test.each<[string, Record<string, string>, Record<string, string>, typeof info | undefined, object | undefined]>([
    ['a first driver', {}, {}, info, { annotations: { x: '{"d":"i-1"}' }, labels: { a: '2', b: '1' } }],
    ['known', { x: '{"d":"i-1"}' }, { a: '2', b: '1' }, info, undefined],
    ['another beside it', { x: '{"e":"j"}' }, { a: '2', b: '1' }, info, { annotations: { x: '{"e":"j","d":"i-1"}' } }],
    ['gone, not the last', { x: '{"e":"j","d":"i-1"}' }, {}, undefined, { annotations: { x: '{"e":"j"}' } }],
    ['gone, the last', { x: '{"d":"i-1"}' }, {}, undefined, { annotations: { x: null } }],
    ['spoiled', { x: '[7' }, { a: '2', b: '1' }, info, { annotations: { x: '{"d":"i-1"}' } }],
  ])('a Node is told of a driver: %s', (_, annotations, labels, told, changes) => {
    const key = 'csi.volume.kubernetes.io/nodeid'
    const named = (object: object | undefined): unknown =>
      object && JSON.parse(JSON.stringify(object).replaceAll('"x":', `"${key}":`))
    const node = { metadata: { annotations: named(annotations) as Record<string, string>, labels } }
    expect(nodeChanges(node, 'd', told)).toEqual(named(changes))
  })

  test('a label with another value is an error', () => {
    expect(() => nodeChanges({ metadata: { labels: { a: '9' } } }, 'd', info)).toThrow(
      'detected topology value collision: driver reported "a":"2" but existing label is "a":"9"',
    )
  })
})
